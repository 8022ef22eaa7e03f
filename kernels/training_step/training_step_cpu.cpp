#include <algorithm>
#include <numeric>

#include "kernels/training_step/training_step.h"

namespace moe::kernels::cpu {

void step_seeds(int64_t passes, uint32_t stream, const StepInputs* inputs, RngMoment* moments) {
  for (int64_t p = 0; p < passes; ++p)
    moments[p] = kernels::detail::moment_of_pass(inputs->moment, stream, p);
}

template <class T>
void note_pass(const StepSettings& s, bool first, const PlansOfLayers& plans, const T* loss,
               const T* auxiliary, StepMemory* memory, int64_t* assigned, int64_t* kept) {
  const auto add = [first](auto& sum, auto x) { sum = first ? x : sum + x; };
  if (loss) {
    add(memory->loss, static_cast<double>(*loss));
    add(memory->auxiliary, auxiliary ? static_cast<double>(*auxiliary) : 0.0);
  }
  for (int64_t l = 0; l < plans.count; ++l)
    for (int64_t e = 0; e < s.experts; ++e) {
      const int64_t i = (plans.first + l) * s.experts + e;
      add(assigned[i], int64_t{plans.assigned[l][e]});
      add(kept[i], int64_t{plans.offsets[l][e + 1]} - plans.offsets[l][e]);
    }
}

void finish_step(const StepSettings& s, const int64_t* assigned, const int64_t* kept, StepMemory* memory) {
  double busiest = 0;
  for (const int64_t* layer = assigned; layer < assigned + s.layers * s.experts; layer += s.experts) {
    const int64_t all = std::accumulate(layer, layer + s.experts, int64_t{0});
    const double mean = static_cast<double>(all) / static_cast<double>(s.experts);
    busiest = std::max(busiest, static_cast<double>(*std::max_element(layer, layer + s.experts)) / mean);
  }
  kernels::detail::decide_step(s, std::accumulate(kept, kept + s.layers * s.experts, int64_t{0}), busiest,
                               *memory);
}

template void note_pass(const StepSettings&, bool, const PlansOfLayers&, const float*, const float*,
                        StepMemory*, int64_t*, int64_t*);
template void note_pass(const StepSettings&, bool, const PlansOfLayers&, const double*, const double*,
                        StepMemory*, int64_t*, int64_t*);

}  // namespace moe::kernels::cpu
