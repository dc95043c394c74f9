"""The marks of a dialogue's turns, spelled as in InternLM's own model."""

USER, BOT = "<|User|>:", "<|Bot|>:"  # text before a turn
EOH, EOA = "<eoh>", "<eoa>"  # pieces after a turn: end of human, end of assistant
