// What the model cards of a job's results tell: where the weights come from and how well they did.
// Called by export_results.cc. Everything comes from the spec, the data or what a checkpoint holds,
// so that a resumed run says what an undisturbed one says.
#ifndef LONGLORA_WORKER_TRAINER_JOB_FACTS_H_
#define LONGLORA_WORKER_TRAINER_JOB_FACTS_H_

#include "worker/trainer/checkpoint/model_card.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

ModelCard DescribeJob(const TrainingJob& job);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_JOB_FACTS_H_
