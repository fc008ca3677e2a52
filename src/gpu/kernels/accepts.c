/* What the build compiles to see whether a clang can make kernels. */
__attribute__((nvptx_kernel)) void accepts(float *x) { x[__nvvm_read_ptx_sreg_tid_x()] = 1; }
