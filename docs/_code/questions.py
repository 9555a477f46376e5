"""A file of multiple-choice questions, as ``lm_eval --log_samples`` writes it, with drawn log-likelihoods."""

import json

import numpy as np
from scipy.special import softmax

rng = np.random.default_rng(0)
gains = {"law": 0.3, "algebra": 0.5, "biology": 1.0}  # below 1: the model is too sure
with open("samples_mmlu.jsonl", "w") as file:
    for _ in range(4000):
        subject = rng.choice(list(gains))
        n_words = int(rng.lognormal(3.5, 0.5))
        logits = rng.normal(-4, 3, size=4)
        gain = gains[subject] * (30 / n_words) ** 0.3
        answer = int(rng.choice(4, p=softmax(gain * logits)))
        doc = {"question": " ".join(["word"] * n_words), "subject": subject}
        filtered = [[f"{value:.4f}", "False"] for value in logits]
        print(json.dumps({"doc": doc, "target": str(answer), "filtered_resps": filtered}), file=file)
