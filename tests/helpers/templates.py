"""InternLM's turns of given ids, for tests that have no tokenizer."""

from mcqlora.tokens.marks import BOT, USER
from mcqlora.tokens.prompt import Template


def internlm(bos: int, eos: int, eoh: int, eoa: int, newline: int, pad: int) -> Template:
    return Template(
        name="internlm",
        start=(bos,),
        eos=eos,
        pad=pad,
        before=(bos,),
        opening=USER,
        closing="",
        after=(eoh, newline, BOT),
        end=(eoa, newline, eos),
        stop=(eos, eoa),
        line_ends=(newline,),
    )
