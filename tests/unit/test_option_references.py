import os
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data import option_references, reference_expressions, users_expressions
from mcqlora.data.questions import Question
from mcqlora.data.reference_expressions import KINDS, LANGUAGES
from mcqlora.errors import UserError
from tests.helpers.questions import make_question, permitted_orders, read_layout

SOURCE = Path(__file__).parents[2] / "src"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


ENGLISH = {
    "letters": """
        both A and B|Both A and B.|A and C|B and C only|neither A nor B|either (a) or (b)|Both a and c
        A, B, and C|(A), (B), and (C)|(B) (C) and (D).|A B and C|All of (a), (b) and (c) hold
        a. and c. above
        Options A and B|A & D|only B|C only|all but D|Both Ａ and Ｂ|both A and B are true
        A or B is correct
        (A) and (B) alike|The answer A|All of the above except B|A and C but not B|None of these but (D)
        Only A is correct|Only A is correct.|only (b) is true|A is correct|A only is correct|B alone
        Just A and B
        Neither A nor B is correct|A and B are both right|A is the correct answer|Options 1 and 2
        answers 2 or 3
        Only A and B are correct|both A and C are not true""",
    "place": """
        all of the above|None of the above.|ALL of the above|none of above|both of the above|all the above
        neither of the above|All of the options above|Any two of the above
        none of the above; nothing helps
        all of the above are true|All of the below|It could be any of the above
        All of the above answers fit
        combinations of the above methods|none above|above of the above|all the above options
        both the above
        all of the preceding|Both of the first two options|the last two answers are right
        same as above""",
    "rest": """
        None of these|All of these options|Both of these.|Neither of these|none of them|Both|None.|Neither
        All of the options given are correct|None of the other answers|No correct answer|either of these
        all are correct|None is correct|Both are true|none of the others|All of the three
        No option is right
        Every answer is correct|None of the other options|all these|Neither of the answers
        any of the other choices""",
    None: """
        A|B|Vitamin A and D|Events A and B are disjoint|P(A and B) = P(A)|30 or above
        Below sea level|I and II
        one standard deviation above the mean|the demand curve lies above the cost curve
        1 and 2 only|C, C++
        not C++|but a few|not a prime|not D'Alembert
        C and C#|a llama and a fox|a, b in H|Valid when A and B are true|all prices rise above cost level
        answer a question|some of the llamas|He gave away two of them|all of the area under the curve
        A is for apple|A son|No choice|only a fool|B is the larger city|A dog is an answer
        Both sides are correct
        the first two kings|all three sons|none is better|Every answer he gave|Option pricing
        the other option""",
}
CHINESE = {
    "letters": """
        A和C|A，B均不是|A、B和C都对|B与D|AB|ACD|AB都是|$\\mathrm{A}，\\mathrm{B}$均是|Ａ和Ｂ
        选项A和选项B|A和B两者的总和
        除A外都对|以上除了B都对|只有A正确|只有A|仅B正确|只有A和B|仅A、B正确|A正确|A对B错|A对，B错
        AB正确|A和C正确|A、B都不对
        非A非B|既不是A也不是B|答案A和B|选项一|选项1和2|第一个选项和第二个选项|只有A對|選項C|AB選項都對""",
    "place": """
        以上任何一项|以上没有正确答案|上述任意一种|同上|以上選項都對|以上無正確答案|上述三个平面垂直
        以上都对|以上都不是|以上全部|以上皆非|以上说法均错误|所有以上|上述选项都不对|前两项都是
        以下都不对""",
    "rest": """
        其他选项均可|其它选项都不是|都不是|全对|没有正确答案|均可|两者都是|其余答案都错|所有选项
        全部选项都对|全选|无一正确
        没有一个正确|二者都成立|皆可|都正确|全部正确|沒有正確答案|其餘選項|兩者都對""",
    None: """
        60岁以上|三层以上|以上|维生素A和C|A型|A与B相互独立|37°C|a+b|所有羊都吃草|前两年|上面有一只羊
        A|除ATP外
        只有A型血|仅A股|A是一只羊|选项一致|第一项工程|所有人|只有羊|正确|无|A对的反面|全部羊都是白的
        以下步骤""",
}
OTHERS = {
    "es": {
        "letters": """
            A y B|Ambas A y B|Tanto A como B|ni A ni B|Solo A|Sólo A es correcta|A y B son correctas
            A, B y C
            Las opciones A y B|La opción A|A es correcta|Opciones 1 y 2|Todas excepto C|a) y b)
            A o B|A Y C
            Únicamente A y D|A y B son verdaderas|Ni A ni B son correctas""",
        "place": """
            Todas las anteriores|Ninguna de las anteriores|Todos los anteriores son correctos
            Ninguno de los anteriores
            Todo lo anterior|Nada de lo anterior|Ninguna de las opciones anteriores
            Las dos anteriores|Dos de las anteriores
            Todas las de arriba|Cualquiera de las respuestas anteriores|Las dos anteriores son ciertas""",
        "rest": """
            Todas|Ninguna|Ambas|Ninguna de estas|Ninguna de ellas|Todas son correctas
            Ninguna es correcta|Ambas son falsas
            Ninguna respuesta es correcta|Todas las opciones|No hay respuesta correcta
            Ninguno de los otros""",
        None: """
            Vitamina A y D|el grupo A|A la casa|todas las ovejas|ningún rey|la semana anterior
            ambas manos|A
            dos años antes|solo agua|y|a la orilla del mar|nada mejor que el mar|tres ovejas
            Los dos reyes""",
    },
    "fr": {
        "letters": """
            A et B|Les réponses A et B|à la fois A et B|ni A ni B|Seulement A|Seule A est correcte
            A et B sont vraies
            A, B et C|La réponse A|soit A soit B|Toutes sauf C|Options 1 et 2|a) et b)|A ou C|A est exacte
            Uniquement B|Les deux réponses A et B""",
        "place": """
            Toutes les réponses ci-dessus|Aucune des réponses ci-dessus|Tous les éléments ci-dessus
            Aucun des précédents
            Toutes les réponses précédentes|Aucune de celles qui précèdent|Les deux ci-dessus
            Rien de ce qui précède
            Toutes ci-dessus|N'importe laquelle des options ci-dessus""",
        "rest": """
            Aucune de ces réponses|Toutes ces réponses|Aucun de ces éléments|Les deux|Aucune|Tous
            Toutes sont correctes
            Aucune réponse n'est correcte|Toutes les réponses sont exactes|Ni l'un ni l'autre
            L'un ou l'autre
            Aucune bonne réponse|Aucun des autres|Aucun de ceux-ci""",
        None: """
            Vitamine A et D|Il a tout mangé|toutes les brebis|aucun roi|la semaine précédente
            Les deux rois|A|le a
            tous les matins|rien de nouveau|et|sauf le roi|l'option du roi est la paix""",
    },
    "de": {
        "letters": """
            A und B|Sowohl A als auch B|Weder A noch B|Nur A|Nur A ist richtig|A und B sind richtig
            A, B und C
            Antwort A|Antworten A und B|Alle außer C|Beide A und B|A oder B|Option 2|a) und b)
            A ist korrekt
            Nur A und C treffen zu""",
        "place": """
            Alle oben genannten|Keine der oben genannten|Alle oben genannten Antworten sind richtig
            Alles oben Genannte
            Keine der obigen Antworten|Alle vorgenannten|Keines der vorherigen|Beide oben genannten
            Nichts davon oben
            Zwei der obigen|Keine der genannten Antworten""",
        "rest": """
            Alle|Keine|Beide|Keines davon|Nichts davon|Alle davon|Keine dieser Antworten
            Keine von diesen|Weder noch
            Alle Antworten sind richtig|Keine der Antworten ist richtig|Alle sind richtig
            Keine richtige Antwort
            Alle anderen|Beide sind falsch|Keine der anderen Antworten""",
        None: """
            Vitamin A und D|alle Schafe|keine Ahnung|beide Hände|der obere Teil|Nur Wasser|A
            eine Antwort geben
            Außer Atem|weder Fisch noch Fleisch|Alle drei Könige|zu Hause|nicht A-Dur""",
    },
    "pt": {
        "letters": """
            A e B|Ambas A e B|Tanto A como B|nem A nem B|Apenas A|Somente A está correta
            A e B estão corretas
            A, B e C|As alternativas A e B|A alternativa C|Todas exceto C|Opções 1 e 2|a) e b)
            A ou B|A está correta
            Só a letra B|A E C""",
        "place": """
            Todas as anteriores|Nenhuma das anteriores|Todas as alternativas anteriores
            Nenhuma das alternativas acima
            Todas acima|As duas anteriores|Nenhum dos anteriores
            Todas as opções acima estão corretas|Tudo acima
            Qualquer uma das anteriores""",
        "rest": """
            Todas|Nenhuma|Ambas|Nenhuma destas|Nenhum deles|Todas estão corretas
            Nenhuma está correta|N.D.A.|NDA
            Nenhuma das alternativas|Todas as alternativas estão corretas|Não há resposta correta
            Todos esses
            Nenhuma das outras""",
        None: """
            Vitamina A e D|a casa|todas as ovelhas|nenhum rei|a semana anterior|ambas as mãos|A
            só água|e|o rei
            As duas ovelhas|nada de novo|menos dinheiro""",
    },
    "ru": {
        "letters": """
            А и Б|A и B|и А, и Б|ни А, ни Б|Только А|Только A верно|А и Б верны|Варианты А и Б
            вариант В|А, Б и В
            Все, кроме А|ответ 2|а) и б)|А или Б|верны А и В""",
        "place": """
            Всё вышеперечисленное|Все вышеперечисленные|Ничего из вышеперечисленного
            Ни один из перечисленных
            Все перечисленные варианты|Ничего из перечисленного|Все ответы выше
            Ни один из предыдущих|Оба варианта выше
            Любое из вышеперечисленного""",
        "rest": """
            Все ответы верны|Нет правильного ответа|Правильного ответа нет|Оба|Обе|Ни один из них
            Ничего из этого
            Все|Ни одно|Ни один ответ не верен|Все варианты правильны|Ни то, ни другое""",
        None: """
            Витамины А и Д|все овцы|ни один король|оба короля|только вода|А|нет|выше среднего|и овцы
            кроме воды""",
    },
    "ja": {
        "letters": """
            AとB|AとBの両方|A、B、C|AおよびB|AまたはB|Aのみ|Aだけ|AとBは正しい|選択肢A|A以外すべて
            アとイ|アとイの両方|ア、イ、ウ
            AもBも正しい|選択肢1|Aのみ正しい|Aが正しい""",
        "place": """
            上記のすべて|上記すべて|上記のいずれでもない|以上のすべて|以上すべて
            上記の選択肢はすべて正しい|上記のどれでもない|前述の両方|同上
            上記のものはない""",
        "rest": """
            すべて|すべて正しい|いずれも正しくない|どちらでもない|どれでもない|両方|両方とも正しい
            該当なし|該当するものはない|正解なし
            これらのすべて|この中のどれでもない|その他すべて|正しいものはない|いずれでもない""",
        None: """
            ビタミンAとD|A型のみ|60歳以上|3以上|すべての羊|羊|A|どちらかの羊|AとBは独立である|以上
            上の羊|両方の手|イタリアとアメリカ""",
    },
    "ko": {
        "letters": """
            A와 B|A와 B 모두|A, B|A 및 C|A 또는 B|A만|오직 A만 맞다|A만 해당|1번과 2번|1번, 3번
            보기 1|A와 B 둘 다|A를 제외한 모두
            A와 B는 모두 옳다|A, B, C|2번만""",
        "place": """
            위의 모든 것|위의 모두|위 모두 해당|위의 어느 것도 아님|이상 모두|위의 것 모두
            위에 해당 없음|상기 모두|위 보기 모두|앞의 모든 것""",
        "rest": """
            모두|모두 맞다|모두 옳음|전부|둘 다|둘 다 아님|정답 없음|답 없음|해당 없음|해당사항 없음
            없음|어느 것도 아니다|모두 해당된다
            이 중 없음|모든 보기|나머지 모두""",
        None: """
            비타민 A와 D|60세 이상|모든 양|위 점막|A|A형|왕과 양|모두의 양|앞다리|이상 기체|위험
            보기 좋은 떡|A만큼""",
    },
    "ar": {
        "letters": """
            أ و ب|أ وب|كل من أ و ب|A و B|أ، ب|(أ) و (ب)|فقط أ|أ فقط|الإجابة أ|أ و ج صحيحتان|أ أو ب
            كلا من A و B
            الكل ما عدا ج|لا أ ولا ب|أ و ب معا|الخيار A""",
        "place": """
            جميع ما سبق|كل ما سبق|لا شيء مما سبق|جميع ما ذكر|لا شيء مما ذكر|ليس أي مما سبق
            كل ما ذكر أعلاه|جميع الخيارات السابقة
            كل ما ورد أعلاه|أي مما سبق|جميع الإجابات السابقة صحيحة|كلا ما سبق""",
        "rest": """
            جميع الإجابات صحيحة|كل الإجابات خاطئة|جميعها|كلاهما|لا شيء|كل الخيارات
            لا توجد إجابة صحيحة|لا شيء منها|كلها صحيحة
            أي من هذه""",
        None: """
            فيتامين أ و د|كل الخراف|الملك|أ|جميع الناس|كلا الملكين|في العام السابق|أب و أم|فقط الماء""",
    },
    "hi": {
        "letters": """
            A और B|A और B दोनों|दोनों A और B|केवल A|केवल A और B|विकल्प A|A तथा C|न तो A और न ही B
            (क) और (ख)|A या B|A व B
            A और B सही हैं|केवल (क)|A के अलावा सभी|विकल्प 2""",
        "place": """
            उपरोक्त सभी|उपर्युक्त सभी|उपरोक्त में से कोई नहीं|उपर्युक्त में से कोई नहीं|ऊपर के सभी|उपरोक्त दोनों
            ऊपर दिए गए सभी""",
        "rest": """
            इनमें से कोई नहीं|इनमें से सभी|ये सभी|ये दोनों|सभी|दोनों|कोई नहीं|सभी विकल्प|सभी सही हैं|दोनों में से कोई नहीं
            इनमें से कोई भी नहीं|कोई विकल्प सही नहीं""",
        None: """
            विटामिन A और D|सभी भेड़ें|राजा और रानी|केवल पानी|A|दोनों हाथ|ऊपर का घर|कोई राजा नहीं|भेड़""",
    },
}
TABLES = {"en": ENGLISH, "zh": CHINESE, **OTHERS}
assert TABLES.keys() == set(LANGUAGES)
CASES = [
    (language, kind, option.strip())
    for language, table in TABLES.items()
    for kind, text in table.items()
    for line in text.strip().splitlines()
    for option in line.split("|")
]


@pytest.mark.parametrize(("language", "kind", "option"), CASES)
def test_reference_kind(language, kind, option):
    assert option_references.reference_kind(option, language) == kind


# Letters without a word tell no language, so only the benchmark's own is asked.
WORDLESS = re.compile(r"\W*\w?(?:\W+\w)*\W*|[A-D]+|C, C\+\+")


@pytest.mark.parametrize("benchmark", [*TABLES, "it"])
def test_an_option_in_another_language_than_the_benchmarks(benchmark):
    for language, kind, option in CASES:
        if not WORDLESS.fullmatch(option) or language == benchmark:
            assert option_references.reference_kind(option, benchmark) == kind, (language, option)


@pytest.mark.parametrize(
    ("option", "language", "few", "many"),
    [
        ("both E and J", "en", 9, 10),
        ("Only E is correct", "en", 4, 5),
        ("answers 1 and 10", "en", 9, 10),
        ("only A and Z", "en", 25, 26),
        ("B or C", "en", 2, 3),
        ("D、E都对", "zh", 4, 5),
        ("选项六和选项E", "zh", 4, 6),
        ("A e E", "pt", 4, 5),
        ("E e F estão corretas", "pt", 5, 6),
        ("А и Е", "ru", 5, 6),
        ("アとオ", "ja", 4, 5),
        ("6번만", "ko", 5, 6),
        ("أ و هـ", "ar", 4, 5),
        ("केवल ङ", "hi", 4, 5),
    ],
)
def test_letters_reach_as_far_as_the_options(option, language, few, many):
    assert option_references.reference_kind(option, language, count=few) is None
    assert option_references.reference_kind(option, language, count=many) == "letters"


def test_a_question_counts_its_own_options():
    five = [f"number {n}" for n in range(4)]
    assert option_references.kinds(question(*five, "both D and E"))[4] == "letters"
    assert option_references.kinds(question(*five[:3], "both D and E"))[3] is None


def test_expressions_are_in_small_letters():
    """The search that comes first ignores no case."""
    for language in LANGUAGES:
        for found in reference_expressions.expressions(language, 4, folded=True).values():
            for one in found:
                plain = re.sub(r"\\[WSD]|[A-Z]-[A-Za-z]|\(\?-i:", "", one)
                assert plain == plain.lower(), (language, one)


def question(*options, language="en"):
    return Question("x", "b", "s", "test", 0, language, "Which?", list(options), "A")


@pytest.mark.parametrize(
    ("options", "pins"),
    [
        (("one", "two", "three", "four"), ""),
        (("one", "two", "three", "all of the above"), "D"),
        (("one", "two", "all of the above", "none of the above"), "CD"),
        (("one", "two", "all of the above", "four"), "CD"),
        (("one", "all of the above", "three", "four"), "AB"),
        (("all of the above", "two", "three", "four"), "A"),
        (("one", "none of these", "three", "four"), "B"),
        (("one", "two", "both A and B", "four"), "ABCD"),
        (("A and B", "A and C", "B and C", "C and D"), ""),
        (("A and B", "A and C", "B and C", "all of the above"), "ABCD"),
    ],
)
def test_pins(options, pins):
    assert option_references.pins(question(*options)) == pins


texts = st.sampled_from(
    ["one", "two", "all of the above", "none of these", "both A and B", "none of the above"]
)


@given(st.lists(texts, min_size=4, max_size=4))
def test_pins_keep_what_an_option_points_at(options):
    item = question(*options)
    kinds = option_references.kinds(item)
    for order in permitted_orders(item, option_references.pins(item)):
        if "letters" in kinds:
            assert order == "ABCD"
        for place, kind in enumerate(kinds):
            if kind:
                assert order[place] == "ABCD"[place]
            if kind == "place":
                assert set(order[:place]) == set("ABCD"[:place])


pointers = st.sampled_from(["one", "all of the above", "none of these"])


@given(st.lists(pointers, min_size=2, max_size=6))
def test_pins_keep_what_is_above_whatever_the_number_of_options(options):
    item = make_question(options=options, answer="A")
    kinds = option_references.kinds(item)
    for order in permitted_orders(item, option_references.pins(item)):
        for place, kind in enumerate(kinds):
            assert kind is None or order[place] == item.letters[place]
            assert kind != "place" or set(order[:place]) == set(item.letters[:place])


def test_own_patterns_are_added():
    table = option_references.table({"fr": {"place": ["ci-dessus"]}, "en": {"rest": ["^the lot$"]}})
    assert option_references.reference_kind("Toutes les réponses CI-DESSUS", "fr", table) == "place"
    assert option_references.reference_kind("The lot", "en", table) == "rest"
    assert option_references.reference_kind("all of the above", "en", table) == "place"
    assert option_references.reference_kind("The lot", "en") is None
    assert option_references.reference_kind("The lot", "fr", table) is None  # a user's are for one language
    assert option_references.reference_kind("ci-dessus", "fr") is None
    assert option_references.pins(question("un", "deux", "trois", "CI-DESSUS", language="fr"), table) == "D"


def test_patterns_keep_their_own_groups_and_flags():
    table = option_references.table(
        {"en": {"rest": [r"(?i)^the lot$", r"(?P<x>foo|bar)", r"^(the) lot \1$", "(?P<x>baz)"]}}
    )
    for option in ("The lot", "foo", "the lot the", "baz"):
        assert option_references.reference_kind(option, "en", table) == "rest", option


def test_wrong_patterns_are_named():
    with pytest.raises(UserError, match="fr: 'places' is not one of letters, place, rest"):
        option_references.table({"fr": {"places": []}})
    with pytest.raises(UserError, match=r"fr: '\(': missing \)"):
        option_references.table({"fr": {"place": ["("]}})


@pytest.mark.integration
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real benchmarks in ../shared/data")
def test_real_counts():
    counts = {}
    for name, language in (("mmlu", "en"), ("cmmlu", "zh")):
        questions, _ = read_layout(REAL, name, name, name, language)
        found = [set(option_references.kinds(item)) - {None} for item in questions]
        counts[name] = [sum(kind in kinds for kinds in found) for kind in KINDS]
    # Read one by one when the expressions were made; a change here needs another reading.
    assert counts == {"mmlu": [121, 454, 239], "cmmlu": [25, 134, 32]}


# What options that refer to others are made of, and those that nearly do.
PIECES = {
    language: [
        *dict.fromkeys(
            piece
            for tongue, _, option in CASES
            if tongue == language
            for piece in (f"{option} ", *option.split(), *(f"{word} " for word in option.split()))
        ),
        *"abcdABCDx ,&/.!()+、;'\n$\\{}3",
        *("A和", "\\text{", "\\mathrm{", "\\text{a", " , ", ", and ", "a b", "(a) ", ",and(a)"),
    ]
    for language in TABLES
}
CASE_OF = {name: [option for tongue, kind, option in CASES if tongue == name and kind] for name in TABLES}
COMMAS = "a" + " , " * 16 + "!"


def options(language, count, length):
    draw = random.Random(11)
    for _ in range(count):
        yield "".join(draw.choices(PIECES[language], k=length))[:length]


def search_all(count, length, repeated):
    """What the process below does: random options, and long ones that repeat a piece."""
    asked = 0
    for language, pieces in PIECES.items():
        starts = ("", *(option.split()[0] + " " for option in CASE_OF[language]))
        for option in (COMMAS, *options(language, count, length)):
            option_references.reference_kind(option, language)
        for number, piece in enumerate(pieces):
            start, end = starts[number % len(starts)], "x!"[number % 2]
            for before in ("", start):
                option = before + piece * (repeated // len(piece)) + end
                option_references.reference_kind(option, language)
        asked += count + 2 * len(pieces)
    print(asked)


@pytest.mark.parametrize(
    ("count", "repeated"), [(300, 1_000), pytest.param(10_000, 30_000, marks=pytest.mark.slow)]
)
def test_any_option_takes_linear_time(count, repeated):
    """In a process that the kernel ends when it has used up its processor time."""
    call = f"search_all({count}, 200, {repeated})"
    code = f"from tests.unit.test_option_references import search_all; {call}"

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (300, 300))  # what ends takes a minute

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SOURCE.parent,
        env=os.environ | {"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > count


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("a , , , and b", "letters"),
        ("(a) , and (b)", "letters"),
        ("a, b are true\n...", "letters"),
        ("a, b are true\nbut not this one", "letters"),
        ("all   other   options", "rest"),
        ("\\text{A} and \\text{B} and \\text{C", None),
        ("$A$ and $B$", "letters"),
        (COMMAS, None),
    ],
)
def test_white_space_and_marks_between_words(option, kind):
    assert option_references.reference_kind(option, "en") == kind


def test_an_expression_of_a_users_that_comes_to_no_end_is_named(monkeypatch):
    monkeypatch.setattr(users_expressions, "SECONDS", 0.1)
    table = option_references.table({"en": {"rest": ["^(x+)+$", "^odd$"]}})
    with pytest.raises(UserError, match=r"^shuffle\.option_.*: '\^\(x\+\)\+\$' comes to no end in 'xxx"):
        option_references.reference_kind("x" * 200 + "!", "en", table)
    assert option_references.reference_kind("ODD", "en", table) == "rest"


def test_the_bound_names_the_key_it_is_given(monkeypatch):
    monkeypatch.setattr(users_expressions, "SECONDS", 0.1)
    expression = re.compile("^(x+)+$")
    with pytest.raises(UserError, match=r"^a.key: '\^\(x\+\)\+\$' comes to no end in 'xxx"):
        users_expressions.bounded(expression, "a.key", "x" * 200 + "!")
    assert users_expressions.bounded(expression, "a.key", "xx").groups() == ("xx",)


def test_kinds_without_an_expression_are_known():
    table = option_references.table({"it": {"place": ["precedenti"]}})
    assert option_references.not_looked_for("it", table) == ["letters", "rest"]
    assert option_references.not_looked_for("it") == ["letters", "place", "rest"]
    assert {name: option_references.not_looked_for(name) for name in LANGUAGES} == {
        name: [] for name in LANGUAGES
    }
