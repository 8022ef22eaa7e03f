#pragma once
// Warp-wide matrix instructions: what the PTX ISA says of mma.sync and ldmatrix, with the lane layouts of its
// section "Matrix Fragments". A sum runs in float in the order of k, where a GPU has an order and a precision
// of its own.

namespace simt {

void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
unsigned round_to_tf32(float x);
void ldmatrix_x4(unsigned (&r)[4], const void* shared_row, bool transposed);

}  // namespace simt
