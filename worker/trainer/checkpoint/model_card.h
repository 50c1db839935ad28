// The README.md of an export: front matter as the Hugging Face hub reads it, what was trained from
// what with which outcome, the job itself, and how to load the result. Pure functions; the exports
// call them, the facts come from job_facts.h.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_MODEL_CARD_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_MODEL_CARD_H_

#include <string>
#include <utility>
#include <vector>

#include "worker/trainer/checkpoint/rope_config.h"

namespace longlora::trainer {

struct ModelCard {
  std::string base_model;  // name or path a user passes to from_pretrained
  // Rows of a table ("Training steps": "1000"), in this order.
  std::vector<std::pair<std::string, std::string>> facts;
  std::string spec;  // the job that was asked for, as JSON
};

// Of a PEFT adapter trained with `rope`.
std::string AdapterCard(const ModelCard& card, const HuggingFaceRope& rope);

// Of a whole model.
std::string MergedCard(const ModelCard& card);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_MODEL_CARD_H_
