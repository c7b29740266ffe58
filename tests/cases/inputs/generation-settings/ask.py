import sys

import vlframe

model = vlframe.load(sys.argv[1])


def ask(label, **settings):
    try:
        print(label, "->", model.chat("clip.mp4", "what?", max_new_tokens=8, **settings))
    except Exception as error:
        print(label, "!!", type(error).__name__, str(error)[:160])


for _ in range(3):
    ask("temperature=5", temperature=5.0)  # three times the same
ask("stop_strings", stop_strings=["a"])
ask("num_return_sequences=2", do_sample=True, num_return_sequences=2)
print(
    len(model.chat_batch([("clip.mp4", "a?"), ("clip.mp4", "b?")], do_sample=True, num_return_sequences=2)),
    "answers to 2 questions",
)
ask("output_scores", return_dict_in_generate=True, output_scores=True)
