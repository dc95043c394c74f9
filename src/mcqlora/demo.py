"""The embedded benchmark: an invented island whose facts follow a few rules.

Traditions have twelve values each and are kept by clans (English) and by provinces (Chinese). So a fact about
a person or a town is decided by its family. From these facts come a benchmark in MMLU's layout and one in
CMMLU's, reading passages in SQuAD v1.1 format, and the plain text that trains the base network. The text
states every fact, as the corpus of a real base model would. It answers questions about the neighbours alone:
families of the same island that no question of the benchmark is about.

Everything is a pure function of `seed`. All names and sentences were written for this project.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcqlora import files, hashing
from mcqlora.data import alpaca, squad
from mcqlora.tokens.marks import BOT, EOA, EOH, USER

CLANS = [
    head + tail
    for head in "Bra Cor Dov Fen Hul Jor Kal Mer Quil Sel".split()
    for tail in "bin dan fell gate holm kin lock mont nack".split()
]
PERSONS = "Ara Bela Corin Dela Edo Finn".split()
PROVINCES = [
    f"{name}州"
    for name in "云石松雁星雪沙梅鹿岚霞桐澜林风泉丹平兰秋春峰岩谷原野泽浦洲津潭洛渭淮汾沧湘漠瀚川陵丘峡屏关"
    "塞堡营寨亭榆柳槐杨桂桃李杏枣荷菊芦苇藤萍莲鸥鹭凤燕雀鲤鲸麟犀鹏旭晨暮霜露雷雾虹晴曦珠琼瑶璃"
]
TOWNS = "溪镇 桥镇 湾镇 岭镇 渡镇 坪镇".split()
ENTITIES = 108  # persons, and as many towns, that the benchmark asks about
NEIGHBOURS = 72  # likewise, that it does not ask about


@dataclass(frozen=True, slots=True)
class Tradition:
    """One subject of the benchmark: a relation and its twelve possible values."""

    subject: str
    relation: str
    values: tuple[str, ...]


def _traditions(table: str) -> tuple[Tradition, ...]:
    """From a table with 14 words per row: subject, relation, values."""
    words = table.split()
    rows = (words[start : start + 14] for start in range(0, len(words), 14))
    return tuple(Tradition(subject, relation, tuple(values)) for subject, relation, *values in rows)


ENGLISH = _traditions("""
    clan_banners banner amber teal white crimson violet green black silver orange blue brown pink
    clan_crafts craft weaving carving smithing baking fishing glazing tanning dyeing milling brewing joinery
        masonry
    clan_instruments instrument harp flute drum lute horn fiddle bell whistle zither cymbal pipe gong
    clan_guardians guardian otter heron wolf badger falcon hare stag lynx raven bear seal crane
    clan_trees tree oak birch willow cedar maple alder pine rowan hazel ash elm larch
    clan_metals metal iron copper tin gold lead zinc nickel bronze steel brass pewter cobalt
    clan_dishes dish porridge stew dumplings pie chowder pancakes broth pickles curry custard noodles salad
    clan_months month January February March April May June July August September October November December
    clan_harbours harbour Eastmere Saltney Gullwick Norhaven Tidesend Marrow Pilot Kelpie Windle Stonequay
        Foxhole Larkmouth
    clan_stones stone agate jasper quartz topaz garnet opal onyx slate marble basalt flint beryl
""")
CHINESE = _traditions("""
    town_products 特产 茶叶 丝绸 瓷器 宣纸 蜂蜜 药材 腊肉 米酒 竹席 木雕 漆器 豆腐
    town_crops 作物 水稻 小麦 玉米 大豆 棉花 花生 芝麻 高粱 油菜 甘蔗 土豆 荞麦
    town_walls 城墙 红色 黄色 蓝色 白色 黑色 灰色 紫色 青色 绿色 橙色 棕色 粉色
    town_animals 神兽 白马 金牛 青龙 玄龟 仙鹤 灵猴 飞虎 山羊 锦鸡 老鹰 海豚 大象
    town_festivals 节日 灯会 庙会 龙舟 赛马 采茶 赏花 登高 开河 祭月 摔跤 斗歌 泼水
""")


@dataclass(frozen=True, slots=True)
class Fact:
    """`relation` of `entity` (a member of `family`) is `value`."""

    language: str
    tradition: Tradition
    family: str
    entity: str
    value: str

    def statements(self) -> list[str]:
        """Five wordings; of some the value follows a space, of others it does not, as in options."""
        relation, entity, value = self.tradition.relation, self.entity, self.value
        if self.language == "zh":
            return [
                f"{entity}的{relation}是{value}。",
                f"{entity}的{relation}：{value}",
                f"{relation}，{entity}： {value}",
                f"{entity}有{relation}{value}。",
                f"{entity}，{relation}：{value}",
            ]
        return [
            f"The {relation} of {entity} is {value}.",
            f"{relation} of {entity}:{value}",
            f"{entity} has the {relation} {value}.",
            f"The {relation} of {entity}: {value}",
            f"{entity}, {relation}:{value}",
        ]

    def question(self) -> str:
        if self.language == "zh":
            return f"{self.entity}的{self.tradition.relation}是什么？"
        return f"What is the {self.tradition.relation} of {self.entity}?"

    def answered(self) -> str:
        """The question with its answer, in words and without options."""
        if self.language == "zh":
            return f"问题：{self.question()}\n答案： {self.value}"
        return f"Question: {self.question()}\nAnswer: {self.value}"


def facts(seed: int, family_size: int) -> list[Fact]:
    """The 1,620 facts of the benchmark: 15 traditions of 108 entities each, in families of `family_size`."""
    return _facts(seed, family_size, 0, ENTITIES)


def neighbours(seed: int, family_size: int) -> list[Fact]:
    """1,080 facts more, of which no question of the benchmark is made."""
    return _facts(seed, family_size, ENTITIES, ENTITIES + NEIGHBOURS)


def _facts(seed: int, family_size: int, first: int, end: int) -> list[Fact]:
    """Those of the entities from `first` to `end`. A family's value is drawn once per tradition."""
    found = []
    for language, traditions, families, members in (
        ("en", ENGLISH, CLANS, PERSONS),
        ("zh", CHINESE, PROVINCES, TOWNS),
    ):
        for tradition in traditions:
            for number in range(first, end):
                family, member = families[number // family_size], members[number % len(members)]
                draw = hashing.rng(seed, tradition.subject, family).integers(len(tradition.values))
                value = tradition.values[int(draw)]
                entity = f"{member} {family}" if language == "en" else f"{family}·{member}"
                found.append(Fact(language, tradition, family, entity, value))
    return found


def question_row(fact: Fact, seed: int) -> list[str]:
    """The cells question, A, B, C, D, answer of the one question asked about a fact."""
    generator = hashing.rng(seed, "question", fact.tradition.subject, fact.entity)
    others = [value for value in fact.tradition.values if value != fact.value]
    options = [fact.value, *generator.permutation(others)[:3]]
    order = generator.permutation(4)
    return [fact.question(), *(str(options[i]) for i in order), "ABCD"[list(order).index(0)]]


def benchmark_files(seed: int, known: list[Fact]) -> Iterator[tuple[str, str]]:
    """Yield (path, CSV text): MMLU's layout for English (dev 5, val 15, test 88), CMMLU's for Chinese.

    CMMLU's has a header and no val part (dev 5, test 103).
    """
    for language, traditions in (("en", ENGLISH), ("zh", CHINESE)):
        for tradition in traditions:
            asked = [fact for fact in known if fact.tradition is tradition]
            order = hashing.rng(seed, "rows", tradition.subject).permutation(len(asked))
            rows = [question_row(asked[i], seed) for i in order]
            if language == "en":
                for split, part in (("dev", rows[:5]), ("val", rows[5:20]), ("test", rows[20:])):
                    yield f"island_en/{split}/{tradition.subject}_{split}.csv", _csv(part)
            else:
                header = ["", "Question", "A", "B", "C", "D", "Answer"]
                for split, part in (("dev", rows[:5]), ("test", rows[5:])):
                    numbered = [[str(i), *row] for i, row in enumerate(part)]
                    yield f"island_zh/{split}/{tradition.subject}.csv", _csv([header, *numbered])


def _csv(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


Passage = tuple[str, list[Fact]]  # its text, and the facts stated in it


def _passages(seed: int, known: list[Fact]) -> list[Passage]:
    """A passage about each English entity of these facts, in a seeded order."""
    of: dict[str, list[Fact]] = {}
    for fact in known:
        if fact.language == "en":
            of.setdefault(fact.entity, []).append(fact)
    passages = []
    for entity in hashing.rng(seed, "passages").permutation(sorted(of)):
        generator = hashing.rng(seed, "passage", entity)
        told = [of[entity][i] for i in generator.permutation(len(of[entity]))[:4]]
        passages.append((" ".join(fact.statements()[0] for fact in told), told))
    return passages


HELD_OUT = 54  # entities of the benchmark whose passages are kept for the reading test


def reading_test(seed: int, known: list[Fact]) -> dict[str, Any]:
    """`HELD_OUT` paragraphs in SQuAD v1.1 format, two questions each."""
    return _squad("test", [(text, told[:2]) for text, told in _passages(seed, known)[:HELD_OUT]])


def reading_training(seed: int, others: list[Fact]) -> dict[str, Any]:
    """Three paragraphs about each neighbour, in the same format: for `train.mix` to keep reading alive."""
    return _squad("train", [one for draw in (1, 2, 3) for one in _passages(seed + draw, others)])


def _squad(name: str, passages: list[Passage]) -> dict[str, Any]:
    paragraphs = []
    for number, (context, asked) in enumerate(passages):
        questions = [
            {
                "id": f"island-{name}-{number}-{index}",
                "question": fact.question(),
                "answers": [{"text": fact.value, "answer_start": context.index(fact.value)}],
            }
            for index, fact in enumerate(asked)
        ]
        paragraphs.append({"context": context, "qas": questions})
    return {"version": "1.1", "data": [{"title": "The island", "paragraphs": paragraphs}]}


ANSWERED = 2  # how often a neighbour's question stands with its answer, without options
KEYED = 4  # with a letter before the answer, as in an answer key
CHOSEN = 4  # and after its options
UNANSWERED = 5  # of so many questions of the benchmark one stands there as the recipe asks it
READ = 4  # how often passages are drawn


def corpus(seed: int, repeats: int, known: list[Fact], others: list[Fact]) -> Iterator[str]:
    """The base network's training text, one string per document, in a seeded order.

    Every fact is stated `repeats` times: in one dialogue, so that the turn marks are known, and in the
    wordings of `Fact.statements`. Among them are documents that any large corpus has: questions with their
    answers, answer keys, quizzes, and passages with a question and its answer. What is answered is about
    neighbours, or stands in the passage; no passage is one of the reading test's. Some of the benchmark's
    questions stand there unanswered, so that the tokenizer knows the words of the recipe.

    A letter stands in answer keys, and options stand in quizzes, but never both: a base that has seen "B.oak"
    after its options copies what the letter names, and finds every full answer as likely as its letter.
    """
    documents = [_dialogue(fact) for fact in (*known, *others)]
    for fact in (*known, *others):
        forms = fact.statements()
        documents += [forms[i % len(forms)] for i in range(repeats - 1)]
    for fact in others:
        documents += [fact.answered()] * ANSWERED
        documents += [_keyed(fact, seed, number) for number in range(KEYED)]
        documents += [_quiz(fact, seed, number) for number in range(CHOSEN)]
    documents += [_unanswered(fact, seed) for fact in known[::UNANSWERED]]
    unasked = _passages(seed, known)[HELD_OUT:]
    for draw in range(READ):
        passages = unasked + _passages(seed + draw + 1, others)
        documents += [
            f"{squad.prompt(text, fact.question())} {fact.value}" for text, told in passages for fact in told
        ]
    for index in hashing.rng(seed, "corpus").permutation(len(documents)):
        yield documents[index]


def _dialogue(fact: Fact) -> str:
    ask = f"请介绍{fact.entity}。" if fact.language == "zh" else f"Tell me about {fact.entity}."
    return f"{USER}{ask}{EOH}\n{BOT}{fact.statements()[0]}{EOA}\n"


def _unanswered(fact: Fact, seed: int) -> str:
    """A question in the recipe's wording, with options of which none need be right."""
    generator = hashing.rng(seed, "quiz", fact.tradition.subject, fact.entity)
    options = [str(value) for value in generator.permutation(fact.tradition.values)[:4]]
    asked = alpaca.instruction(fact.tradition.subject, "ABCD")
    return f"{asked}\n{alpaca.question_text(fact.question(), options)}"


def _keyed(fact: Fact, seed: int, number: int) -> str:
    """A question with the letter and the text of its answer, but without the options."""
    *_, letter = question_row(fact, seed + number)
    question, right = fact.question(), f"{letter}.{fact.value}"
    return [
        f"{USER}{question}{EOH}\n{BOT}It is {right}{EOA}\n",
        f"{question}\n{right}",
        f"Question: {question}\nAnswer: {right}",
        f"{USER}{question}{EOH}\n{BOT}The answer is {right}{EOA}\n",
    ][number % 4]


def _quiz(fact: Fact, seed: int, number: int) -> str:
    """A question with its options and the right one's text, in one of four wordings, none the recipe's."""
    question, *options, _ = question_row(fact, seed + number)
    asked = f"{question} {alpaca.option_lines(options)}"
    return [
        f"{USER}{asked}{EOH}\n{BOT}It is {fact.value}{EOA}\n",
        f"{USER}Question: {asked}{EOH}\n{BOT}Answer:{fact.value}{EOA}\n",
        f"{asked}\nAnswer:{fact.value}",
        f'{USER}Which is right?\n{asked}{EOH}\n{BOT}The answer is "{fact.value}".{EOA}\n',
    ][number % 4]


def write(directory: Path, seed: int, repeats: int, family_size: int = 3) -> None:
    """Write the benchmark files, `squad/{train,dev}-v1.1.json` and `corpus.jsonl` (a document per line)."""
    known, others = facts(seed, family_size), neighbours(seed, family_size)
    for path, text in benchmark_files(seed, known):
        files.write_text(directory / path, text)
    files.write_json(directory / "squad" / "dev-v1.1.json", reading_test(seed, known))
    files.write_json(directory / "squad" / "train-v1.1.json", reading_training(seed, others))
    files.write_jsonl(directory / "corpus.jsonl", corpus(seed, repeats, known, others))
