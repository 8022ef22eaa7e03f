#include "kernels/gemm/multiply.h"

namespace moe::kernels::cpu::detail {

constinit const InstructionSet kBuildSet = kThisSet;

}  // namespace moe::kernels::cpu::detail
