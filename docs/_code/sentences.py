"""Made-up sentences that praise, blame or ask, their tokens, and a small BERT that was trained on 300 of them."""

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, DataCollatorWithPadding, PreTrainedTokenizerFast

words = {"praise": "good great fine happy", "blame": "bad awful poor sad", "question": "why when who how"}
names, words = list(words), [text.split() for text in words.values()]
filler = ["the", "a", "it", "film", "was", "is", "of", "and", "to", "seems"]
vocabulary = ["[PAD]", "[UNK]", *filler, *sum(words, [])]

rng = np.random.default_rng(0)
labels = rng.integers(3, size=1500)


def sentence(label):
    """Three words of its kind, of which some are of another, among some that say nothing."""
    kinds = [label if rng.random() < 0.6 else rng.integers(3) for _ in range(3)]
    return " ".join(
        rng.permutation([*(rng.choice(words[kind]) for kind in kinds), *rng.choice(filler, rng.integers(2, 9))])
    )


tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
encoded = tokenizer([sentence(label) for label in labels], return_token_type_ids=False)
tokens = Dataset.from_dict({**encoded, "labels": labels})
tokens_train, tokens_cal, tokens_test = (tokens.select(range(*part)) for part in ((0, 300), (300, 900), (900, 1500)))
collate = DataCollatorWithPadding(tokenizer)

torch.manual_seed(0)
sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
config = BertConfig(vocab_size=len(vocabulary), id2label=dict(enumerate(names)), hidden_dropout_prob=0.0, **sizes)
model = BertForSequenceClassification(config)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(15):
    for batch in DataLoader(tokens_train, batch_size=32, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
model.eval()
