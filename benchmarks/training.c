/* One epoch of the training of plumbline/bits/kernel.py, by hand: the limit that benchmarks/training.py measures the kernel
   against. One thread, one binary target, float32, sizes known to the compiler; no promise about bits.

   cc -O3 -ffast-math -march=native -shared -fPIC -DFEATURES=10 -DHIDDEN=32 training.c -lm */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { D = FEATURES, H = HIDDEN, TILE = 128 };

/* The kernel's vector: W1 transposed (d, h), b1 (h), W2 (h), b2. */
typedef struct {
    float w1[D][H], b1[H], w2[H], b2;
} Weights;

static void shuffle(int32_t *order, int64_t n, uint64_t state) {
    for (int64_t i = n - 1; i > 0; i--) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift */
        int64_t j = (int64_t)(((unsigned __int128)state * (uint64_t)(i + 1)) >> 64);
        int32_t swapped = order[i];
        order[i] = order[j], order[j] = swapped;
    }
}

/* Add the gradient of a batch's mean loss that comes from at most TILE rows; returns the sum of their losses. */
static float gradient_of(const float *x, const float *y, const int32_t *rows, int n, float share,
                         const Weights *restrict w, Weights *restrict g) {
    static float input[TILE][D], hidden[TILE][H], logit[TILE], target[TILE], error[TILE];
    float loss = 0;
    for (int i = 0; i < n; i++) {
        target[i] = y[rows[i]];
        memcpy(input[i], x + (int64_t)rows[i] * D, sizeof input[i]);
    }
    for (int i = 0; i < n; i++) {
        float sums[H], z = w->b2;
        for (int j = 0; j < H; j++) sums[j] = w->b1[j];
        for (int f = 0; f < D; f++)
            for (int j = 0; j < H; j++) sums[j] += input[i][f] * w->w1[f][j];
        for (int j = 0; j < H; j++) {
            hidden[i][j] = sums[j] > 0 ? sums[j] : 0;
            z += hidden[i][j] * w->w2[j];
        }
        logit[i] = z;
    }
    for (int i = 0; i < n; i++) {
        float z = logit[i], small = expf(-fabsf(z));
        loss += (z > 0 ? z : 0) - z * target[i] + logf(1 + small);
        error[i] = ((z >= 0 ? 1 : small) / (1 + small) - target[i]) * share;
    }
    for (int i = 0; i < n; i++) {
        float back[H];
        for (int j = 0; j < H; j++) {
            back[j] = hidden[i][j] > 0 ? error[i] * w->w2[j] : 0;
            g->w2[j] += error[i] * hidden[i][j];
            g->b1[j] += back[j];
        }
        g->b2 += error[i];
        for (int f = 0; f < D; f++)
            for (int j = 0; j < H; j++) g->w1[f][j] += input[i][f] * back[j];
    }
    return loss;
}

/* Shuffles `order` and trains on x (n, d) and y (n) in batches; moments and powers as in Adam. Returns the mean loss. */
double epoch(const float *x, const float *y, int32_t *order, int64_t n, int64_t batch, double rate, uint64_t seed,
             float *weights, float *first, float *second, double *powers) {
    double loss = 0;
    if (seed) shuffle(order, n, seed);
    for (int64_t start = 0; start < n; start += batch) {
        int64_t end = start + batch < n ? start + batch : n;
        Weights g = {0};
        for (int64_t i = start; i < end; i += TILE)
            loss += gradient_of(x, y, order + i, (int)(end - i < TILE ? end - i : TILE), 1.0f / (float)(end - start),
                                (const Weights *)weights, &g);
        powers[0] *= 0.9, powers[1] *= 0.999;
        const float step = (float)(rate / (1 - powers[0])), scale = (float)(1 / sqrt(1 - powers[1]));
        const float *gradient = (const float *)&g;
        for (int i = 0; i < D * H + 2 * H + 1; i++) {
            first[i] += (gradient[i] - first[i]) * 0.1f;
            second[i] += (gradient[i] * gradient[i] - second[i]) * 0.001f;
            weights[i] -= step * first[i] / (sqrtf(second[i]) * scale + 1e-8f);
        }
    }
    return loss / n;
}
