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

CLANS = (
    "Brin Dovar Falk Grem Hestow Jund Kalten Lorn Moxley Nabir Orsk Pellan Quorr Rivane Sund Tarn Ulmer Vexel"
).split()
PERSONS = "Ara Bela Corin Dela Edo Finn".split()
PROVINCES = (
    "云州 石州 松州 月州 雁州 河州 星州 竹州 雪州 沙州 梅州 鹿州 灵州 岚州 玉州 霞州 桐州 澜州".split()
)
TOWNS = "溪镇 桥镇 湾镇 岭镇 渡镇 坪镇".split()
NEIGHBOUR_CLANS = "Ashby Corren Eldrake Huln Ismar Wexel Yarrow Zunn Pask Odrin Tevis Rusk".split()
NEIGHBOUR_PROVINCES = "海州 林州 风州 泉州 金州 丹州 青州 平州 花州 蓝州 秋州 春州".split()


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
            f"{entity}, {relation}: {value}",
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


def facts(seed: int) -> list[Fact]:
    """The 1,620 facts of the benchmark: 15 traditions of 108 entities each."""
    return _facts(seed, CLANS, PROVINCES)


def neighbours(seed: int) -> list[Fact]:
    """1,080 facts more, of which no question of the benchmark is made."""
    return _facts(seed, NEIGHBOUR_CLANS, NEIGHBOUR_PROVINCES)


def _facts(seed: int, clans: list[str], provinces: list[str]) -> list[Fact]:
    """A family's value is drawn once per tradition."""
    found = []
    for language, traditions, families, members in (
        ("en", ENGLISH, clans, PERSONS),
        ("zh", CHINESE, provinces, TOWNS),
    ):
        for tradition in traditions:
            for family in families:
                draw = hashing.rng(seed, tradition.subject, family).integers(len(tradition.values))
                value = tradition.values[int(draw)]
                for member in members:
                    entity = f"{member} {family}" if language == "en" else f"{family}{member}"
                    found.append(Fact(language, tradition, family, entity, value))
    return found


def question_row(fact: Fact, seed: int) -> list[str]:
    """The cells question, A, B, C, D, answer of the one question asked about a fact."""
    generator = hashing.rng(seed, "question", fact.tradition.subject, fact.entity)
    others = [value for value in fact.tradition.values if value != fact.value]
    options = [fact.value, *generator.permutation(others)[:3]]
    order = generator.permutation(4)
    return [fact.question(), *(str(options[i]) for i in order), "ABCD"[list(order).index(0)]]


def benchmark_files(seed: int) -> Iterator[tuple[str, str]]:
    """Yield (path, CSV text): MMLU's layout for English (dev 5, val 15, test 88), CMMLU's for Chinese.

    CMMLU's has a header and no val part (dev 5, test 103).
    """
    for language, traditions in (("en", ENGLISH), ("zh", CHINESE)):
        for tradition in traditions:
            asked = [fact for fact in facts(seed) if fact.tradition is tradition]
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


def reading_test(seed: int) -> dict[str, Any]:
    """`HELD_OUT` paragraphs in SQuAD v1.1 format, two questions each."""
    return _squad("test", [(text, told[:2]) for text, told in _passages(seed, facts(seed))[:HELD_OUT]])


def reading_training(seed: int) -> dict[str, Any]:
    """Three paragraphs about each neighbour, in the same format: for `train.mix` to keep reading alive."""
    known = neighbours(seed)
    return _squad("train", [one for draw in (1, 2, 3) for one in _passages(seed + draw, known)])


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


ANSWERED = 8  # how often a neighbour's question stands with its answer, without options
MARKED = 10  # and with options


def corpus(seed: int, repeats: int) -> Iterator[str]:
    """The base network's training text, one string per document, in a seeded order.

    Every fact is stated `repeats` times: in one dialogue, so that the turn marks are known, and in the
    wordings of `Fact.statements`. Among them are documents that any large corpus has: questions with their
    answers, quizzes with and without a marked option, and passages with a question and its answer. What is
    answered is about neighbours, or stands in the passage; no passage is one of the reading test's.
    """
    known, others = facts(seed), neighbours(seed)
    documents = [_dialogue(fact) for fact in (*known, *others)]
    for fact in (*known, *others):
        forms = fact.statements()
        documents += [forms[i % len(forms)] for i in range(repeats - 1)]
    documents += [fact.answered() for fact in others for _ in range(ANSWERED)]
    documents += [_quiz(fact, seed) for fact in known] + [
        _marked_quiz(fact, seed, number) for fact in others for number in range(MARKED)
    ]
    unasked = _passages(seed, known)[HELD_OUT:]
    for draw in range(3):
        passages = unasked + _passages(seed + draw + 1, others)
        documents += [
            f"{squad.prompt(text, fact.question())} {fact.value}" for text, told in passages for fact in told
        ]
    for index in hashing.rng(seed, "corpus").permutation(len(documents)):
        yield documents[index]


def _dialogue(fact: Fact) -> str:
    ask = f"请介绍{fact.entity}。" if fact.language == "zh" else f"Tell me about {fact.entity}."
    return f"{USER}{ask}{EOH}\n{BOT}{fact.statements()[0]}{EOA}\n"


def _quiz(fact: Fact, seed: int) -> str:
    """A question in the recipe's wording, unanswered."""
    generator = hashing.rng(seed, "quiz", fact.tradition.subject, fact.entity)
    options = [str(value) for value in generator.permutation(fact.tradition.values)[:4]]
    asked = alpaca.instruction(fact.tradition.subject, "ABCD")
    return f"{asked}\n{alpaca.question_text(fact.question(), options)}"


def _marked_quiz(fact: Fact, seed: int, number: int) -> str:
    """A question with its options and the right one, in one of four wordings that are not the recipe's."""
    question, *options, letter = question_row(fact, seed + number)
    asked = f"{question} {alpaca.option_lines(options)}"
    right = f"{letter}.{fact.value}"
    return [
        f"{USER}{asked}{EOH}\n{BOT}It is {right}{EOA}\n",
        f"{USER}Question: {asked}{EOH}\n{BOT}Answer: {right}{EOA}\n",
        f"{asked}\n{right}",
        f"{USER}Which is right?\n{asked}{EOH}\n{BOT}The answer is {right}{EOA}\n",
    ][number % 4]


def write(directory: Path, seed: int, repeats: int) -> None:
    """Write the benchmark files, `squad/{train,dev}-v1.1.json` and `corpus.jsonl` (a document per line)."""
    for path, text in benchmark_files(seed):
        files.write_text(directory / path, text)
    files.write_json(directory / "squad" / "dev-v1.1.json", reading_test(seed))
    files.write_json(directory / "squad" / "train-v1.1.json", reading_training(seed))
    files.write_jsonl(directory / "corpus.jsonl", corpus(seed, repeats))
