// Steps of a per-cell law on a CPU, fused: a strip of cells goes through perception, layers, update and norm while its
// numbers are in registers and the first caches.
//
//     a_0 = perceive(x)                       F 3x3 filters per channel, or the cell itself
//     a_l = elu(W_l a_(l-1) + b_l)            l = 1 .. L - 1
//     y   = m (W_L a_(L-1) + b_L)             m: 1, or drawn per cell and step
//     phi = x + y - gamma x;   x' = phi / (|phi| + 1e-9)
//
// Each number is one chain of multiply-adds in the order of its inputs, whatever the strip, the thread or the batch: a
// universe has the same bits among any number of others.
//
// BF16: weights and what layers take are bfloat16, two neighbours to a word, summed in float32; state, perception,
// update and norm stay float32.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;  // floats of a vector; the compiler splits it where the machine has shorter ones
constexpr int STRIP = 48;  // cells that go through all layers together: with 128 hidden channels 24 KiB
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef float Word __attribute__((may_alias));  // a float, or two bfloat16
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));

inline Vec load(const float* at) { return *reinterpret_cast<const Vec*>(at); }
inline void store(float* at, Vec value) { *reinterpret_cast<Vec*>(at) = value; }
inline Vec all(float value) { return value - Vec{}; }
inline int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

inline float total(Vec x) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) x[i] += x[i + half];
    return x[0];
}

// x above 0, exp(x) - 1 below: 2^n exp(r) with |r| <= ln(2) / 2, exp(r) - 1 a polynomial of degree 6.
inline Vec elu(Vec x) {
    const Vec low = x < all(-87.0f) ? all(-87.0f) : x;
    const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const Vec n = (low * 1.44269504f + shift) - shift;
    const Vec r = (low - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec p = r * 1.3888889e-3f + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r;
    const Vec scale = (Vec)((__builtin_convertvector(n, Ints) + 127) << 23);
    return x <= all(0.0f) ? p * scale + (scale - 1.0f) : x;  // what is no number stays none
}

// The first word of Philox4x32-10 (leym/physics/noise.py) as a number in [0, 1).
inline float uniform(int64_t seed, int64_t clock, int64_t cell) {
    uint32_t c0 = cell, c1 = 0, c2 = clock, c3 = (uint64_t)clock >> 32;
    uint32_t k0 = seed, k1 = (uint32_t)((uint64_t)seed >> 32) ^ 0x80000000u;
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = p0;
    }
    return (c0 >> 8) * 0x1p-24f;
}

template <bool BF16>
inline Vec multiply_add(Vec sum, Word in, Vec weight) {
#ifdef __AVX512BF16__
    if constexpr (BF16) return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)all(in), (__m512bh)weight);
#endif
    return sum + in * weight;
}

// 16 numbers from the i-th on, of a row that layers take.
template <bool BF16>
inline void keep(Word* row, int64_t i, Vec value) {
#ifdef __AVX512BF16__
    if constexpr (BF16) {
        const __m256bh rounded = _mm512_cvtneps_pbh((__m512)value);
        std::memcpy((char*)row + 2 * i, &rounded, sizeof rounded);
        return;
    }
#endif
    store(row + i, value);
}

// out[m][0..16 V) = bias + sum_k in[m][k] weight[k][0..16 V) for M cells, of which the in has so many words.
template <bool BF16, int M, int V, bool LAST>
void tile(const Word* in, int words, const Word* weight, const float* bias, int width, Word* out, int64_t at) {
    Vec sums[M][V];
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) sums[m][v] = load(bias + v * LANES);
    for (int k = 0; k < words; ++k) {
        Vec w[V];
        for (int v = 0; v < V; ++v) w[v] = load(weight + (int64_t)k * width + v * LANES);
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) sums[m][v] = multiply_add<BF16>(sums[m][v], in[m * words + k], w[v]);
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) {
            const int64_t i = at + m * width + v * LANES;
            if (LAST) store(out + i, sums[m][v]);
            else keep<BF16>(out, i, elu(sums[m][v]));
        }
}

// A layer for a strip: in [STRIP][in_width], weight [in_width][width], widths multiples of LANES. In bfloat16 the weight
// is [in_width / 2][width][2].
template <bool BF16, bool LAST>
void layer(const Word* in, int in_width, const Word* weight, const float* bias, int width, Word* out) {
    const int words = BF16 ? in_width / 2 : in_width;
    int at = 0;
    for (; at + 4 * LANES <= width; at += 4 * LANES)
        for (int m = 0; m < STRIP; m += 6)
            tile<BF16, 6, 4, LAST>(in + m * words, words, weight + at, bias + at, width, out, m * width + at);
    for (; at < width; at += LANES)
        for (int m = 0; m < STRIP; m += 12)
            tile<BF16, 12, 1, LAST>(in + m * words, words, weight + at, bias + at, width, out, m * width + at);
}

struct Law {
    int32_t channels, filters, layers, periodic, bf16;  // filters 0: no neighbourhood
    float rate;                                   // of cells that move in a step; 1: all, and nothing is drawn
    const int32_t* widths;                        // [layers + 1], all multiples of LANES
    const float* stencil;                         // [filters][9][padded channels]
    const Word* const* weights;                   // [layers] of [widths[l]][widths[l + 1]]
    const float* const* biases;                   // [layers] of [widths[l + 1]]
};

struct Universe {
    const float* now;
    float* next;  // both [height][width][channels]
    int height, width;
    float gamma;
    int64_t seed, clock;
};

struct Room {  // what a thread works in
    std::vector<float> rows, in, out;
};

// A row of the grid with a cell of halo on each side, channels padded by zeros.
void copy_row(const Law& law, const Universe& u, int y, float* row) {
    const int c = law.channels, wide = padded(c);
    if ((y < 0 || y >= u.height) && !law.periodic) {
        std::memset(row, 0, sizeof(float) * wide * (u.width + 2));
        return;
    }
    const float* from = u.now + (int64_t)((y + u.height) % u.height) * u.width * c;
    for (int x = 0; x < u.width; ++x) std::memcpy(row + (x + 1) * wide, from + x * c, sizeof(float) * c);
    const float* ends[2] = {from + (u.width - 1) * c, from};
    for (int side = 0; side < 2; ++side) {
        float* halo = row + side * (u.width + 1) * wide;
        if (law.periodic) std::memcpy(halo, ends[side], sizeof(float) * c);
        else std::memset(halo, 0, sizeof(float) * c);
    }
}

template <bool BF16>
void perceive(const Law& law, float* const rows[3], int x, int cells, Word* out) {
    const int wide = padded(law.channels), width = law.widths[0];
    for (int m = 0; m < cells; ++m)
        for (int c = 0; c < wide; c += LANES) {
            if (!law.filters) {
                keep<BF16>(out, m * width + c, load(rows[1] + (x + m + 1) * wide + c));
                continue;
            }
            Vec near[9];
            for (int t = 0; t < 9; ++t) near[t] = load(rows[t / 3] + (x + m + t % 3) * wide + c);
            for (int f = 0; f < law.filters; ++f) {
                Vec sum = {};
                for (int t = 0; t < 9; ++t) sum += near[t] * load(law.stencil + (f * 9 + t) * wide + c);
                keep<BF16>(out, m * width + f * wide + c, sum);
            }
        }
}

// The update and the norm of a strip. Returns whether its cells are finite.
bool finish(const Law& law, const Universe& u, const float* cells, const float* y, int64_t first, int n) {
    const int c = law.channels, wide = padded(c);
    bool finite = true;
    for (int m = 0; m < n; ++m) {
        const float *x = cells + m * wide, *dx = y + m * law.widths[law.layers];
        const float moves = law.rate < 1 ? uniform(u.seed, u.clock, first + m) < law.rate : 1;
        const auto phi = [&](int i) { return load(x + i) + moves * load(dx + i) - u.gamma * load(x + i); };
        Vec squares = {};
        for (int i = 0; i < wide; i += LANES) squares += phi(i) * phi(i);
        const float norm = std::sqrt(total(squares));
        finite &= std::isfinite(norm);
        for (int i = 0; i < wide; i += LANES) {
            const Vec after = phi(i) / all(norm + 1e-9f);
            std::memcpy(u.next + (first + m) * c + i, &after, sizeof(float) * std::min(LANES, c - i));
        }
    }
    return finite;
}

// Rows first .. last of a universe, one step. Returns whether all of their cells are finite.
template <bool BF16>
bool step_rows(const Law& law, const Universe& u, int first, int last, Room& room) {
    const int wide = padded(law.channels), L = law.layers;
    const int64_t row = (int64_t)wide * (u.width + 2);
    const int64_t widest = *std::max_element(law.widths, law.widths + L + 1);
    room.rows.resize(3 * row);
    room.in.resize(STRIP * widest);
    room.out.resize(STRIP * widest);
    float* rows[3] = {room.rows.data(), room.rows.data() + row, room.rows.data() + 2 * row};
    copy_row(law, u, first - 1, rows[0]);
    copy_row(law, u, first, rows[1]);
    bool finite = true;
    for (int y = first; y < last; ++y) {
        copy_row(law, u, y + 1, rows[2]);
        for (int x = 0; x < u.width; x += STRIP) {
            const int cells = std::min(STRIP, u.width - x);
            float *in = room.in.data(), *out = room.out.data();
            perceive<BF16>(law, rows, x, cells, in);
            for (int l = 0; l < L; ++l, std::swap(in, out)) {
                const auto one = l + 1 < L ? layer<BF16, false> : layer<BF16, true>;
                one(in, law.widths[l], law.weights[l], law.biases[l], law.widths[l + 1], out);
            }
            finite &= finish(law, u, rows[1] + (x + 1) * wide, in, (int64_t)y * u.width + x, cells);
        }
        std::rotate(rows, rows + 1, rows + 3);
    }
    return finite;
}

}  // namespace

// Whether this machine has the instructions for laws in bfloat16.
extern "C" int leym_cells_bf16() {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

// `steps` steps in place. state, scratch: float32 [batch][height][width][channels]; gamma: float32 [batch]; seed, clock,
// good: int64 [batch]. clock grows by one per step, good by one per step whose state is finite.
extern "C" void leym_cells(const Law* law, float* state, float* scratch, const float* gamma, const int64_t* seed,
                           int64_t* clock, int64_t* good, int batch, int height, int width, int steps, int threads) {
    const int64_t size = (int64_t)height * width * law->channels;
    const int bands = std::clamp(4 * threads / batch, 1, height);  // of rows per universe, so that all threads have some
    std::vector<int> finite((size_t)steps * batch, 1);
    float* sides[2] = {state, scratch};
    const auto step_band = law->bf16 ? step_rows<true> : step_rows<false>;
    #pragma omp parallel num_threads(threads)
    {
        Room room;
        for (int step = 0; step < steps; ++step) {
            #pragma omp for schedule(dynamic, 1)
            for (int task = 0; task < batch * bands; ++task) {
                const int b = task / bands, band = task % bands;
                const Universe u = {sides[step % 2] + b * size, sides[1 - step % 2] + b * size, height, width,
                                    gamma[b], seed[b], clock[b] + step};
                if (!step_band(*law, u, height * band / bands, height * (band + 1) / bands, room)) {
                    #pragma omp atomic write
                    finite[(size_t)step * batch + b] = 0;
                }
            }
        }
    }
    if (steps % 2) std::memcpy(state, scratch, sizeof(float) * size * batch);
    for (int b = 0; b < batch; ++b) {
        clock[b] += steps;
        for (int step = 0; step < steps; ++step) good[b] += finite[(size_t)step * batch + b];
    }
}
