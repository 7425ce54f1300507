"""Fine-tune a tiny language model with the Hugging Face Trainer."""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--resume", default="")
parser.add_argument("--patience", type=int, default=0)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--vocabulary", type=int, default=64)
parser.add_argument("--context", type=int, default=32)
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--fp16", action="store_true")
parser.add_argument("--bar", action="store_true")
parser.add_argument("--keep", type=int, default=0)
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--model", default="")
parser.add_argument("--best", action="store_true")
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--gradient-checkpointing", action="store_true")
opt = parser.parse_args()


class Tokens(Dataset):
    """Numbers of the shards as tokens."""

    def __init__(self, folder="data"):
        self.rows = [
            json.loads(line)
            for file in sorted(Path(folder).glob("*.jsonl"))
            for line in file.open()
        ]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        ids = torch.tensor([int(abs(v) * 20) % 64 for v in self.rows[index]["x"]])
        return {"input_ids": ids, "labels": ids}


class Slow(TrainerCallback):
    kept = []

    def on_step_end(self, args, state, control, **kwargs):
        time.sleep(opt.sleep)
        if opt.keep:
            self.kept.append(torch.ones(opt.keep << 18))


def main():
    torch.manual_seed(0)
    if opt.model:
        model = GPT2LMHeadModel.from_pretrained(opt.model)
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=opt.vocabulary, n_positions=opt.context, n_embd=32, n_layer=2, n_head=2
            )
        )
    evaluates = bool(opt.patience or opt.best)
    arguments = TrainingArguments(
        output_dir="out",
        max_steps=opt.steps,
        per_device_train_batch_size=8,
        learning_rate=opt.lr,
        logging_steps=5,
        save_steps=5 if evaluates else 20,
        save_total_limit=2,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=5,
        load_best_model_at_end=evaluates,
        metric_for_best_model="eval_loss",
        dataloader_num_workers=opt.workers,
        bf16=opt.bf16,
        fp16=opt.fp16,
        use_cpu=True,
        report_to=[],
        disable_tqdm=not opt.bar,
        gradient_accumulation_steps=opt.accumulate,
        gradient_checkpointing=opt.gradient_checkpointing,
    )
    dataset = Tokens()
    callbacks = [Slow()] + ([EarlyStoppingCallback(opt.patience)] if opt.patience else [])
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=torch.utils.data.Subset(dataset, range(32)),
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=opt.resume or None)
    trainer.save_model("out/final")


if __name__ == "__main__":
    main()
