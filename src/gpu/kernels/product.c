/* Up to three matrices side by side; see product.h. */
#include "gpu/kernels/product.h"

KERNEL(OF_FORMAT(product_few), struct product_args, 256) { multiply_few(a, 0); }
KERNEL(OF_FORMAT(product_many), struct product_args, 256) { multiply_many(a, 0); }
