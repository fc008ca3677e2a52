/* The pair of the feed-forward network; see product.h. */
#include "gpu/kernels/product.h"

KERNEL(OF_FORMAT(product_few_pair), struct product_args, 256) { multiply_few(a, 1); }
KERNEL(OF_FORMAT(product_many_pair), struct product_args, 256) { multiply_many(a, 1); }
