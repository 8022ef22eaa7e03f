// Empty where everything is compiled for this machine's processor.

#ifdef MOE_CHOOSE_INSTRUCTION_SET
#include "kernels/gemm/multiply.h"

namespace moe::kernels::cpu::detail {

constinit const InstructionSet kAvx2Set = kThisSet;

}  // namespace moe::kernels::cpu::detail
#endif
