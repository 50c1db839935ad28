// The slice of LibTorch that the trainer computes with: tensors, autograd, no modules, optimizers
// or data loaders. Precompiled once (longlora_torch_pch). <torch/torch.h> would instantiate all of
// torch::nn in every file that uses it: 13 s of compilation a file instead of 7.
#ifndef LONGLORA_WORKER_TRAINER_TORCH_H_
#define LONGLORA_WORKER_TRAINER_TORCH_H_

#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#endif  // LONGLORA_WORKER_TRAINER_TORCH_H_
