"""Regular expressions for options that refer to others, in eleven languages; `option_references` uses them.

They are searched for in NFKC text (full-width letters and circled numbers become plain), without LaTeX markup
and outer white space, case ignored. The first kind that matches wins.
They rather find too much than too little: a question pinned without need loses variety, but one that is
missed is trained or scored with a false option.

An option may be damaged or hostile, so any takes linear time: what repeats never stands beside its like
(`\\s*\\s*`, `(?:\\s*,\\s*)+`), nor `.*` before `\\W*`, unless it gives nothing back (`*+`). Else a text that
fits nowhere is read in too many ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase, ascii_uppercase

KINDS = ("letters", "place", "rest")
Expressions = dict[str, list[str]]  # by kind


@dataclass(frozen=True, slots=True)
class _Labels:
    """How options may be called: of four A to D, and perhaps by the first four letters of another script."""

    count: int
    own: str
    folded: bool  # for texts in small letters

    @property
    def low(self) -> str:
        """The inside of a class of characters."""
        return f"a-{ascii_lowercase[self.count - 1]}{self.own}"

    @property
    def high(self) -> str:
        return self.low if self.folded else f"A-{ascii_uppercase[self.count - 1]}{self.own.upper()}"

    @property
    def number(self) -> str:
        return f"[1-{self.count}]" if self.count < 10 else r"[1-9]\d?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """The words of a language that is written with spaces; each a regular expression for one or several."""

    joins: str  # and, or
    before: str  # both, only, options: before letters
    after: str  # are, both: after letters
    said: str  # correct, only: what makes a reference of a single letter
    names: str  # option, answer
    but: str  # except
    all: str  # all, none, both
    some: str  # two, any
    place: str  # above, previous
    these: str  # these, them
    alone: str  # all, none, both: as the whole option
    right: str  # correct, true


def _spaced(labels: _Labels, words: _Words) -> Expressions:
    """The expressions of a language that puts spaces between words, such as Spanish or Russian."""
    end = r"(?![\w'+#])"
    letter, single = rf"\(?[{labels.low}]\)?\.?{end}", rf"\(?(?-i:[{labels.high}])\)?{end}"
    join = rf"(?:\s*+(?:[,;&/+]|(?:{words.joins})(?=[\s(])))++\s*+"
    before, after = rf"(?:(?:{words.before})\W++)", rf"(?:\W++(?:{words.after})\b)"
    few = r"(?:\W++\w++){0,5}?\W++"  # words between
    many = f"{words.all}|{words.some}"
    return {
        "letters": [
            rf"^\W*+{before}*+{letter}(?:{join}{letter})++{after}*+\W*+$",
            rf"^\W*+{before}++{single}{after}*+\W*+$",
            rf"^\W*+{single}(?:\W++(?:{words.after})){{0,3}}?\W++(?:{words.said})\b{after}*+\W*+$",
            rf"\b(?:{words.names})\s++(?:{single}|{labels.number}(?!\w))",
            rf"\b(?:{words.but})\s++{single}",
        ],
        "place": [
            rf"\b(?:{many}){few}(?:{words.place})\b",
        ],
        "rest": [
            rf"^\W*+(?:{words.all}){few}(?:{words.these})\b",
            rf"^\W*+(?:{words.all}){few}(?:{words.names}){after}*+\W*+$",
            rf"^\W*+(?:{words.alone}){after}*+\W*+$",
            rf"^\W*+(?:{words.right})\W*+$",
        ],
    }


def _english(labels: _Labels) -> Expressions:
    end = r"(?![\w'+#])"
    letter = rf"\(?[{labels.low}]\)?\.?{end}"
    joins = r"\s*(?:(?:,|&|/|\band|\bor|\bnor|\bthrough|\bto)\.?\s*+)+"
    letters = rf"{letter}{joins}{letter}(?:[\s,]*+(?:(?:and|or|nor|&)\s*+)?{letter})*"
    single = rf"(?-i:\(?[{labels.high}]\)?)"
    names = r"(?:options?|answers?|choices?|alternatives?|responses?)"
    true = r"(?:true|false|correct|incorrect|right|wrong)"
    neither = r"n[ei]i?ther"
    all_ = rf"(?:all|none|both|any|either|{neither})"
    many = rf"(?:{all_}|each|some|most|one|two|three|\d|combinations?|more than one)"
    said = rf"(?:is|are)(?: (?:both|all|also|not|only|the))* (?:{true}|{names})\b"
    return {
        "letters": [
            rf"^\W*(?:(?:only|just|{names})\s+)*(?:both|{neither}|either|{names}|only"
            rf"|just)\s+{letters}",
            rf"^\W*(?:all|any|none) of\s+{letters}",
            rf"^{letters}\W*+(?:(?:(?:only|above)\W*+|(?:are|is)(?: both"
            rf"| all)? {true}\b.*+(?:\n\W*+)?))?$",
            rf"^\([{labels.low}]\)\s*+(?:(?:,|&|and|or|nor)+\s*+)?\([{labels.low}]\)",
            rf"^\W*[{labels.low}] [{labels.low}],? (?:and|or) [{labels.low}]\W*$",
            rf"^\W*(?:only|just|all (?:but|except)|same as)\s+{single}\W*$",
            rf"^\W*{single}\s+(?:only|alone)\W*$",
            rf"^\W*(?:(?:only|just|neither|both)\s+)?(?:{single}"
            rf"|\([{labels.low}]\)){end}(?:\s+(?:only|alone))?\s+{said}",
            rf"^\W*{letters}\s+{said}",
            rf"\b{names}\s+{single}(?!\w)",
            rf"\b{names}\s+{labels.number}\s*(?:,|&|and|or|to)\s*{labels.number}\b",
            rf"\b(?:except|but(?:\s+not)?|not)\s+{single}(?![\w'+#])",
        ],
        "place": [
            rf"\b{many}\s+of\s+(?:the\s+)?(?:above|below|preceding|foregoing|previous)\b",
            rf"\b{all_}\s+(?:of\s+)?(?:the\s+)?(?:\w+\s+){{0,2}}(?:above|below)\W*$",
            r"\ball\s+the\s+above\b",
            r"^\W*(?:\w+\s+)?of\s+the\s+above\W*$",
            rf"^\W*{many}\s+(?:of\s+)?the\s+(?:\w+\s+)?(?:above|preceding|foregoing"
            rf"|previous)(?:\s+{names})?\W*$",
            rf"^\W*(?:both\s+(?:of\s+)?)?the\s+(?:first|last|previous|preceding)\s+(?:two"
            rf"|three)\s+{names}\b",
            r"^\W*same as (?:the )?above\W*$",
        ],
        "rest": [
            rf"^\W*{many}\s+of\s+(?:these|those|them)\b",
            rf"\b(?:{all_}|each|combination)\s+of\s+these\b",
            rf"^\W*{all_}\s++(?:of\s++)?(?:the\s++)?(?:(?:other|given|listed|remaining)\s*+)?{names}\b",
            r"^\W*(?:none|all|both|either|neither)\W*$",
            r"^\W*no (?:correct|right) (?:answer|option|choice)",
            rf"^\W*(?:none|all|both|any|{neither})\s+(?:of\s+the\s+(?:others?|two|three|four)\b"
            rf"|{said})",
            rf"^\W*(?:none|all|neither|every one) of (?:the )?(?:other )?{names}\b",
            rf"^\W*(?:no|every|not one|each)(?: of the)?(?: other)? {names} (?:is|are|applies"
            rf"|apply|fits?)\b",
            rf"^\W*(?:all|both|either) (?:of )?(?:these|those|them)(?: {names})?\W*$",
        ],
    }


_TRADITIONAL = dict(zip("选项对错没无两个种确与仅为适当余", "選項對錯沒無兩個種確與僅為適當餘", strict=True))


def _with_traditional(expression: str) -> str:
    """The expression with the traditional form of each simplified character beside it."""
    made, inside = "", False
    for character in expression:
        inside = character == "[" or (inside and character != "]")
        both = character + _TRADITIONAL.get(character, "")
        made += both if inside or len(both) == 1 else f"[{both}]"
    return made


def _chinese(labels: _Labels) -> Expressions:
    letter = f"[{labels.high}]"
    listed = rf"{letter}(?:\s*(?:,|、|和|与|或|及|以及|\+)\s*(?:选项)?{letter})+"
    true = r"(?:正确|错误|成立|合适|适用|可以|可行|不行|对|错|是|非|可)"
    said = rf"(?:[两二三]者)?(?:选项|项)?(?:[都均皆全也]|同时)?(?:是|为)?不?{true}的?"
    numbers = "一二三四五六七八九十"[: labels.count]
    number = rf"(?:[{numbers}]|{labels.number})"
    tail = r"\W*(?:(?:两|二|三)[者项个].{0,8}|[都均皆全].*)?$"
    found: Expressions = {
        "letters": [
            rf"^\W*(?:选项)?(?-i:{listed}){tail}",
            rf"^\W*(?:选项)?(?-i:{letter}{{2,{labels.count}}})\W*(?:(?:(?:两|二"
            rf"|三)[者项个])?[都均皆全].*)?$",
            rf"选项\s*(?-i:{letter})",
            rf"除(?:了|去)?\s*(?-i:{letter})(?![A-Za-z])",
            rf"^\W*(?:只有|唯有|仅有?|只|选|答案)(?:选项|答案|选)?\s*(?-i:{listed}"
            rf"|{letter}+)(?:项|{said})?\W*$",
            rf"^\W*(?-i:{listed}"
            rf"|{letter}{{1,{labels.count}}})\s*{said}(?:\W*(?-i:{letter})\s*{said})*\W*$",
            rf"^\W*(?:既|也)?(?:不是|非)\s*(?-i:{letter})\W*[也又且]?(?:不是|非)\s*(?-i:{letter})\W*$",
            rf"(?:选项|答案)\s*(?:(?-i:{letter})|{number})(?!\w|\.\d)",
            rf"(?:选项|答案)\s*{number}\s*[和与或及、,]\s*{number}",
            rf"^\W*第?{number}(?:个?选项)[和与或及、,]第?{number}(?:个?选项)",
        ],
        "place": [
            r"^\W*(?:以上|上述|以下|下述|上面|前述).{0,8}?(?:[都均皆全]|所有|各项)",
            r"(?:所有|全部)(?:的)?(?:以上|上述)",
            r"^\W*(?:以上|上述)[两二三几][个种者项]",
            r"^\W*前面?(?:两|二|三|几)(?:[者项]|个选项)",
            r"^\W*(?:以上|上述|上面|前述).{0,4}?(?:任[一何意]|没有|无)",
            r"^\W*同上\W*$",
        ],
        "rest": [
            r"^\W*(?:其他|其它|其余).{0,3}(?:选项|答案|各项)",
            r"^\W*(?:没有|无)(?:正确|合适)的?(?:答案|选项)",
            r"^\W*(?:[两二三四][者项])?(?:全部|全都|都|均|皆|全)不?(?:是|对|正确|错|错误|可以"
            r"|可|有|有可能|包括)\W*$",
            r"^\W*(?:所有|全部|每个|任何|任一个?)的?(?:选项|答案)",
            rf"^\W*(?:[两二三四][者项个])?(?:全部|全都|都|均|皆)不?{true}的?\W*$",
            rf"^\W*(?:无一|没有一个|没有任何一个)(?:选项|答案)?(?:是)?{true}的?\W*$",
            r"^\W*[全都]选\W*$",
        ],
    }
    return {kind: [_with_traditional(one) for one in own] for kind, own in found.items()}


def _spanish(labels: _Labels) -> Expressions:
    names = "opci[oó]n(?:es)?|respuestas?|alternativas?|incisos?|literal(?:es)?|letras?"
    said = (
        r"s[oó]lo|solamente|únicamente|(?:in)?correct[ao]s?|ciert[ao]s?|verdader[ao]s?|fals[ao]s?"
        r"|válid[ao]s?"
    )
    return _spaced(
        labels,
        _Words(
            joins="y|e|o|u|ni|como",
            before=rf"amb[ao]s|tanto|s[oó]lo|solamente|únicamente|ni|(?:l[ao]s?\W++)?(?:{names})",
            after=rf"es|son|está|están|no|amb[ao]s|tod[ao]s|también|{said}",
            said=said,
            names=names,
            but="excepto|menos|salvo|except[oó]",
            all="tod[ao]s?|ningun[ao]s?|ningún|nada|amb[ao]s|l[ao]s dos",
            some="cualquiera|algun[ao]s?|dos|tres|más de una",
            place="anterior(?:es)?|precedentes?|(?:de )?arriba|(?:de )?abajo|mencionad[ao]s?",
            these="est[ao]s|es[ao]s|ell[ao]s|las demás|los demás|las otras|los otros",
            alone="tod[ao]s|ningun[ao]|nada|amb[ao]s|las dos|los dos|las tres|los tres",
            right=r"no hay (?:una |ninguna )?(?:respuesta|opción|alternativa)s? (?:correcta|válida)s?",
        ),
    )


def _french(labels: _Labels) -> Expressions:
    names = "réponses?|options?|propositions?|choix|affirmations?|lettres?"
    said = (
        r"seule?s?|seulement|uniquement|(?:in)?correct(?:e?s?)|(?:in)?exact(?:e?s?)|justes?"
        r"|vraie?s?|faux|fausses?|bon(?:ne)?s?"
    )
    return _spaced(
        labels,
        _Words(
            joins="et|ou|ni|et/ou|soit",
            before=rf"à la fois|soit|tant|seule?s?|seulement|uniquement|ni"
            rf"|(?:l[ea]s?\W++)?(?:deux\W++)?(?:{names})",
            after=rf"est|sont|n'est|ne|pas|toute?s?|tous|les deux|{said}",
            said=said,
            names=names,
            but="sauf|excepté|hormis",
            all="tou(?:te?s?|s)|aucune?|les deux|rien|chacune?",
            some="n'importe laquelle|deux|trois|plusieurs|l'une?",
            place=r"ci\W?dess(?:us|ous)|précédente?s?|qui précède(?:nt)?|susmentionnée?s?"
            r"|mentionnée?s?",
            these="ces|ceux(?:-ci|-là)?|celles(?:-ci|-là)?|d'entre (?:eux|elles)|autres|cela",
            alone=r"tou(?:te)?s|aucune?|les deux|les trois|rien|ni l'une? ni l'autre"
            r"|l'une? (?:et|ou) l'autre",
            right=r"(?:il n'y a )?(?:pas de|aucune) (?:bonne réponse|réponse (?:correcte"
            r"|exacte|juste|n'est \w+))",
        ),
    )


def _german(labels: _Labels) -> Expressions:
    names = (
        "antwort(?:en|möglichkeit(?:en)?)?|option(?:en)?|aussagen?|auswahl(?:en)?|lösung(?:en)?|buchstaben?"
    )
    said = "nur|allein|stimmt|stimmen|richtig|korrekt|falsch|wahr|unwahr|zutreffend|zu"
    return _spaced(
        labels,
        _Words(
            joins="und|oder|noch|sowie|als auch|wie auch|bis",
            before=rf"sowohl|weder|nur|entweder|beide|ausschließlich|lediglich|allein"
            rf"|(?:die\W++)?(?:{names})",
            after=rf"ist|sind|beide|alle|nicht|trifft|treffen|{said}",
            said=said,
            names=names,
            but="außer|ausgenommen|bis auf|aber nicht",
            all="alle[rs]?|keine[rs]?|nichts|beides?|jede[rs]?|sämtliche",
            some="eine[rs]?|mehrere|zwei|drei|irgendeine[rs]?",
            place="oben|obige[nr]?|obenstehende[nr]?|vorgenannten?|vorherigen?|vorstehenden?|genannten?"
            "|vorangegangenen?|darüber|unten",
            these="davon|diese[nr]?|von ihnen|anderen|übrigen|der drei",
            alone="alles?|keine[rs]?|nichts|beides?|weder noch",
            right="(?:es gibt )?keine (?:richtige|korrekte) (?:antwort|lösung|option)",
        ),
    )


def _portuguese(labels: _Labels) -> Expressions:
    names = "alternativas?|opç(?:ão|ões)|opcao|respostas?|letras?|ite(?:m|ns)|assertivas?|afirmativas?"
    said = (
        r"apenas|só|somente|(?:in)?corret[ao]s?|(?:in)?correct[ao]s?|verdadeir[ao]s?|fals[ao]s?"
        r"|cert[ao]s?|errad[ao]s?"
    )
    return _spaced(
        labels,
        _Words(
            joins="e|ou|nem|como|quanto",
            before=rf"amb[ao]s|tanto|apenas|só|somente|unicamente|nem|(?:[ao]s?\W++)?(?:{names})",
            after=rf"é|são|está|estão|não|amb[ao]s|tod[ao]s|também|{said}",
            said=said,
            names=names,
            but="exceto|menos|salvo",
            all="tod[ao]s?|tudo|nenhuma?|nada|amb[ao]s|as duas|os dois",
            some="qualquer|algum[ao]?s?|duas|dois|três|mais de uma",
            place="anterior(?:es)?|(?:d[ao]s? )?acima|(?:d[ao]s? )?abaixo|precedentes?"
            "|supracitad[ao]s|mencionad[ao]s",
            these="d?est[ae]s|d?ess[ae]s|del[ae]s|el[ae]s|outr[ao]s|demais",
            alone=r"tod[ao]s|nenhum[ao]?|amb[ao]s|nada|as duas|os dois|as três|n\.?\s?d\.?\s?[ar]",
            right=r"(?:não há|sem) (?:nenhuma )?(?:resposta|alternativa|opção)s? (?:correta|certa)s?",
        ),
    )


def _russian(labels: _Labels) -> Expressions:
    names = "вариант(?:ы|ов|а)?|ответ(?:ы|ов|а)?|пункт(?:ы|ов|а)?|утверждени[еяй]|буквы?"
    said = (
        "только|верен|правилен|(?:не)?верн(?:ы|о|ый|ые|а)|(?:не)?правильн(?:ы|о|ый|ые|а)"
        "|(?:не)?истинн(?:ы|о)|ложн(?:ы|о)"
    )
    return _spaced(
        labels,
        _Words(
            joins="и|или|ни|либо",
            before=rf"и|об[ае]|верн[ыо]|правильн[ыо]|только|лишь|ни|либо|(?:{names})",
            after=rf"об[ае]|не|все|вместе|{said}",
            said=said,
            names=names,
            but="кроме|за исключением",
            all="вс[её]|ничего|ничто|ни од(?:ин|на|но|ного|ной)|никак\\w+|об[ае]",
            some="все[хм]|любо[йе]|обоих|нет|два|три",
            place=r"(?:вышепере|пере)числен\w+|выше|вышеуказан\w+|указан\w+ выше|вышеназван\w+"
            r"|предыдущ\w+|ниже",
            these="этих|этого|них|эти|остальн\\w+|други[ехм]",
            alone="вс[её]|об[ае]|ни один|ни одна|ни одно|ничего|ничто|никакой"
            "|ни то,? ни другое|и то,? и другое",
            right="нет (?:правильного|верного) (?:ответа|варианта)|(?:правильного"
            "|верного) (?:ответа|варианта) нет",
        ),
    )


def _japanese(labels: _Labels) -> Expressions:
    letter = rf"\(?(?-i:[{labels.high}])\)?(?![A-Za-z0-9'+#ァ-ヶー])"
    listed = rf"{letter}(?:\s*+(?:と|、|,|・|&|及び|および|又は|または|か|も|や)\s*+{letter})+"
    after = (
        r"(?:も|(?:の)?(?:両方|両者|いずれも|どちらも|すべて|全て|みな|2つ|二つ)|のみ|だけ|とも"
        r"|[がはも].{0,4}(?:正しい|誤り|誤っている|正解).{0,6})"
    )
    all_ = r"(?:すべて|全て|全部|いずれ|どれ|どちら|両方|なし|ない|みな|何れ|2つ|二つ|3つ|三つ)"
    right = (
        r"(?:が|は|も|とも)?(?:正しい|正しくない|正解|誤り|間違い|当てはまる|当てはまらない"
        r"|該当する|該当しない|である|でもない|ではない|ない)"
    )
    return {
        "letters": [
            rf"^\W*{listed}\s*+{after}?\W*$",
            rf"^\W*(?:選択肢)?{letter}\s*+(?:のみ|だけ)",
            rf"^\W*(?:選択肢)?{letter}\s*+[がは](?:正しい|誤り|正解)",
            rf"選択肢\s*+(?:{letter}|{labels.number})",
            rf"(?-i:[{labels.high}])以外",
        ],
        "place": [
            rf"^\W*(?:上記|以上|上の|前述|前記|上述|下記|以下).{{0,6}}?{all_}",
            r"^\W*(?:上記|以上|前述|前記|上述)の(?:選択肢|もの)",
            r"^\W*同上\W*$",
        ],
        "rest": [
            rf"^\W*(?:すべて|全て|全部|いずれも|どれも|どちらも|両方|両方とも|どれでも"
            rf"|どちらでも|いずれでも){right}?\W*$",
            r"^\W*(?:該当(?:するもの)?(?:は|が)?なし|該当するもの(?:は|が)ない|正解(?:は"
            r"|が)?(?:なし|ない)|なし)\W*$",
            r"^\W*(?:正しいもの|適切なもの|正しい選択肢)[はが](?:ない|なし|1つもない|一つもない)",
            r"^\W*(?:これら|それら|この中|他|その他|残り)の?(?:選択肢)?(?:の)?(?:すべて|全て"
            r"|全部|いずれ|どれ|どちら|両方)",
            r"^\W*(?:すべて|全て)の選択肢",
        ],
    }


def _korean(labels: _Labels) -> Expressions:
    letter = rf"\(?(?-i:[{labels.high}])\)?(?![A-Za-z0-9'+#])"
    number = rf"{labels.number}\s*+번"
    listed = (
        rf"{letter}\s*+(?:와|과|,|·|및|또는|이나|나|&|하고)\s*+(?:{letter}\s*+(?:와|과|,|·|및|또는"
        rf"|&)\s*+)*+{letter}"
    )
    numbers = rf"{labels.number}\s*+번?\s*+(?:와|과|,|·|및|또는)\s*+{number}"
    after = (
        r"(?:\s*+(?:모두|둘\s*+다|전부|만|이|가|은|는|도|의)?\s*+(?:모두|둘\s*+다"
        r"|전부)?\s*+(?:맞다|맞음|옳다|옳음|틀리다|틀림|정답|해당|해당됨|아님|아니다|정답이다)?)"
    )
    all_ = (
        r"(?:모두|모든|전부|전체|둘\s*+다|셋\s*+다|없음|없다|아님|아니다|어느\s*+것도|어떤\s*+것도"
        r"|것\s*+중)"
    )
    right = (
        r"(?:이다|임|맞다|맞음|옳다|옳음|틀리다|틀림|정답|정답이다|해당|해당됨|해당된다|해당한다"
        r"|해당함|아님|아니다|가능|가능하다)"
    )
    return {
        "letters": [
            rf"^\W*{listed}{after}\W*$",
            rf"^\W*{numbers}{after}\W*$",
            rf"^\W*(?:오직\s*+)?{letter}\s*+만(?:\s|\W*$)",
            rf"^\W*(?:오직\s*+)?{number}\s*+만(?:\s|\W*$)",
            rf"(?:보기|선택지|선지)\s*+(?:{letter}|{labels.number}(?!\w))",
            rf"(?:{letter}|{number})\s*+(?:을|를)?\s*+(?:제외|빼고)",
        ],
        "place": [
            rf"^\W*(?:위|상기|이상|앞|아래|전술한|위에서|위에|위의)(?:의|에|에서)?\s.{{0,8}}?{all_}",
            rf"^\W*(?:위|상기|이상)(?:의|에)?\s*+{all_}",
        ],
        "rest": [
            rf"^\W*(?:모두|전부|둘\s*+다|셋\s*+다|모두\s*+다)(?:\s*+{right})?\W*$",
            r"^\W*(?:정답|답|해당|해당\s*+사항|해당되는\s*+것|맞는\s*+것|옳은\s*+것)\s*+(?:이"
            r"|은|는)?\s*+(?:없음|없다)\W*$",
            r"^\W*(?:없음|없다)\W*$",
            rf"^\W*(?:어느|어떤|아무)\s*+(?:것|쪽)도\s*+(?:{right}|없)",
            r"^\W*(?:이|이들|그|다음)\s*+중\s*+(?:에\s*+)?(?:없음|없다|어느|어떤|답)",
            r"^\W*(?:이들|이것들|나머지|다른\s*+보기)\s*+(?:는|은|가)?\s*+(?:모두|전부)",
            r"^\W*모든\s*+(?:보기|선택지|답)",
        ],
    }


def _arabic(labels: _Labels) -> Expressions:
    letter = rf"\(?(?-i:[{labels.high}ا])ـ?\)?(?!\w)"
    listed = rf"{letter}(?:\s*+(?:[،,&/]|أو|ولا(?=\s)|و)\s*+{letter})+"
    all_ = (
        r"(?:كل|كلّ|جميع|كافة|أي|اي|لا شيء|لا شئ|لاشيء|ليس|ليست|لا أحد|لا يوجد|لا توجد|كلا|كلتا"
        r"|معظم|أكثر من)"
    )
    right = r"(?:صحيح|صحيحة|صحيحتان|صحيحان|صحيحين|خاطئ|خاطئة|خاطئتان|خاطئان|خطأ|معا|معًا|فقط|غير|كلاهما)"
    names = r"(?:الإجابات|الاجابات|الإجابة|الاجابة|الخيارات|الخيار|الأجوبة|البدائل|الإجابتان|الخياران)"
    before = r"(?:كل من|كلا من|كلًا من|كلاً من|كلا|فقط|إما|لا)"
    return {
        "letters": [
            rf"^\W*(?:{before}\s++)?(?:{names}\s++)?{listed}(?:\s*+{right})*\W*$",
            rf"^\W*(?:فقط\s++)?{letter}\s++(?:{right}\s*+)+\W*$",
            rf"^\W*(?:فقط|{names})\s++{letter}",
            rf"^\W*{before}\s++(?:{names}\s++)?{listed}",
            rf"(?:ما عدا|عدا|باستثناء|إلا)\s++{letter}",
        ],
        "place": [
            rf"^\W*{all_}.{{0,24}}?(?:سبق|ذكر|ورد|تقدم|أعلاه|اعلاه|السابقة|السابقين|السابقتين"
            rf"|السابق|المذكورة|أدناه|يلي)(?!\w)",
            r"(?:مما|ما) (?:سبق|ذكر|ورد|تقدم)(?!\w)",
        ],
        "rest": [
            rf"^\W*{all_}\s++(?:من\s++)?{names}",
            rf"^\W*(?:جميعها|جميعهم|كلها|كلهم|كلاهما|كليهما|كلتاهما|لا شيء|لا شئ|لاشيء|الكل"
            rf"|الجميع)(?:\s*+{right})*\W*$",
            rf"^\W*{all_}\s++(?:من\s++)?(?:منها|منهم|منهما|هذه|هؤلاء|ذلك|هذا)",
            r"^\W*لا (?:توجد|يوجد) (?:إجابة|اجابة|جواب|خيار)",
            r"^\W*ليس أي من",
        ],
    }


def _hindi(labels: _Labels) -> Expressions:
    word = r"(?![\wऀ-ॿ'+#])"
    letter = rf"\(?(?-i:[{labels.high}])\)?{word}"
    join = r"(?:,|&|/|और|व|तथा|एवं|एवम्|या|न ही|अथवा)"
    listed = rf"{letter}(?:\s*+(?:{join}\s*+)++{letter})+"
    only = r"(?:केवल|सिर्फ|मात्र)"
    right = r"(?:दोनों|सभी|केवल|सही|गलत|ग़लत|सत्य|असत्य|हैं|है|नहीं|में|से|कोई|भी|ही|तीनों)"
    all_ = r"(?:सभी|सब|कोई|दोनों|तीनों|सारे|एक)"
    above = r"(?:उपरोक्त|उपर्युक्त|उपयुर्क्त|उपर्यक्त|ऊपर|उपर|पूर्वोक्त|निम्नलिखित|निम्न|नीचे)"
    return {
        "letters": [
            rf"^\W*(?:(?:दोनों|{only}|न तो|न|विकल्प)\s*+)*{listed}(?:\s*+{right})*\W*$",
            rf"^\W*{only}\s*+(?:विकल्प\s*+)?{letter}",
            rf"^\W*{letter}\s*+(?:{only}|सही है|गलत है|ही)",
            rf"विकल्प\s*+(?:{letter}|{labels.number}{word})",
            rf"{letter}\s*+(?:को छोड़कर|के अलावा|के सिवा)",
        ],
        "place": [rf"{above}.{{0,24}}?{all_}"],
        "rest": [
            rf"^\W*(?:इनमें|इनमे|इन में|इन|उनमें|इसमें)\s*+(?:से)?\s*+(?:{all_})",
            rf"^\W*(?:ये|यह|वे)\s*+{all_}(?:\s*+{right})*\W*$",
            rf"^\W*{all_}(?:\s*+{right})*\W*$",
            r"^\W*(?:सभी|सारे|कोई भी|अन्य सभी) (?:विकल्प|उत्तर)",
            r"^\W*कोई (?:भी )?(?:सही )?(?:विकल्प|उत्तर) (?:सही )?नहीं",
        ],
    }


_BY_LANGUAGE: dict[str, tuple[Callable[[_Labels], Expressions], str]] = {  # with labels of its own script
    "en": (_english, ""),
    "zh": (_chinese, ""),
    "es": (_spanish, ""),
    "fr": (_french, ""),
    "de": (_german, ""),
    "pt": (_portuguese, ""),
    "ru": (_russian, "абвгдежзик"),
    "ja": (_japanese, "アイウエオカキクケコ"),
    "ko": (_korean, ""),
    "ar": (_arabic, "أبجدهوزحطي"),
    "hi": (_hindi, "कखगघङचछजझञ"),
}
LANGUAGES = tuple(_BY_LANGUAGE)
# By what tells that a text may be in one of them: in Latin letters a word, since single letters stand in all.
SCRIPTS = {
    "[A-Za-zÀ-ÿ]{2}": ("en", "es", "fr", "de", "pt"),
    "[぀-ヿ一-鿿]": ("zh", "ja"),
    "[Ѐ-ӿ]": ("ru",),
    "[가-힣]": ("ko",),
    "[ء-ي]": ("ar",),
    "[ऀ-ॿ]": ("hi",),
}


@cache
def expressions(language: str, count: int, folded: bool = False) -> Expressions:
    """Those of a language by kind, for questions of `count` options; none for an unknown language.

    Args:
        folded: for texts in small letters, in which a letter alone may also be a word.
    """
    if language not in _BY_LANGUAGE:
        return {}
    make, own = _BY_LANGUAGE[language]
    return make(_Labels(count, own[:count], folded))
