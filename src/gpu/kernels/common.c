/* The module of all kernels that do not depend on a block format. */
#include "gpu/kernels/attend.c"
#include "gpu/kernels/attention.c"
#include "gpu/kernels/backbone.c"
#include "gpu/kernels/codec.c"
#include "gpu/kernels/codec_attention.c"
#include "gpu/kernels/codec_matmul.c"
#include "gpu/kernels/norm.c"
#include "gpu/kernels/sample.c"
