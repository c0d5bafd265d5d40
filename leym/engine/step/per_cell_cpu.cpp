// Steps of a per-cell law on a CPU, fused: a strip of cells goes through perception, layers, update and norm while its
// numbers are in registers and the first caches.
//
//     a_0 = perceive(x)                       F 3x3 filters per channel, or the cell itself
//     a_l = elu(W_l a_(l-1) + b_l)            l = 1 .. L - 1
//     y   = m (W_L a_(L-1) + b_L)             m: 1, or drawn per cell and step
//     phi = x + y - gamma x;   x' = C(phi)    C: phi / (|phi| + 1e-9), phi, or phi within a box
//
// Each number is one chain of multiply-adds in the order of its inputs, whatever the strip, the thread or the batch: a
// universe has the same bits among any number of others.
//
// BF16: weights and what layers take are bfloat16, two neighbours to a word, summed in float32; state, perception,
// update and norm stay float32.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include <omp.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define MATRIX_UNIT  // its use below is written for vectors of 16 beside it
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;  // floats of a vector of the machine; a longer one would live in memory, not in registers
constexpr int TILE = 4;    // vectors of sums per cell: with 6 cells as many as there are registers for
#else
constexpr int LANES = 8;
constexpr int TILE = 2;
#endif
constexpr int PAD = 16;    // channels are padded to a multiple, on every machine
constexpr int STRIP = 48;  // cells that go through all layers together: with 128 hidden channels 24 KiB
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef float Word __attribute__((may_alias));  // a float, or two bfloat16
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));

inline Vec load(const float* at) { return *reinterpret_cast<const Vec*>(at); }
inline void store(float* at, Vec value) { *reinterpret_cast<Vec*>(at) = value; }
inline Vec all(float value) { return value - Vec{}; }
inline int padded(int n) { return (n + PAD - 1) / PAD * PAD; }

inline float total(Vec x) {
    float at[LANES];
    store(at, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) at[i] += at[i + half];
    return at[0];
}

// x above 0, exp(x) - 1 below: 2^n 2^f - 1 with |f| <= 1/2 and 2^f - 1 a polynomial, whose error is below the rounding
// that follows.
template <bool BF16>
inline Vec elu(Vec x) {
    const Vec low = x < all(-87.0f) ? all(-87.0f) : x;
    const Vec shift = all(12582912.0f + 127.0f);  // 1.5 * 2^23: adding it rounds to an integer; 127: the exponent of 1
    const Vec n = low * 1.44269504f + shift;
    const Vec f = low * 1.44269504f - (n - shift);
    Vec p = f * 9.6181291e-3f + 5.5504109e-2f;
    if (!BF16) p = (f * 1.5403530e-4f + 1.3333558e-3f) * f * f + p;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    const Vec scale = (Vec)((Ints)n << 23);
    return x <= all(0.0f) ? p * f * scale + (scale - 1.0f) : x;  // what is no number stays none
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

// LANES numbers from the i-th on, of a row that layers take.
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

// out[m][0..LANES V) = bias + sum_k in[m][k] weight[k][0..LANES V) for M cells, of which the in has so many words.
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
            else keep<BF16>(out, i, elu<BF16>(sums[m][v]));
        }
}

#ifdef MATRIX_UNIT
// The same for 16 cells by the matrix unit. Its tiles: 0 to 3 sums, 4 what goes in, 5 and 6 weights.
template <int V, bool LAST>
void unit_tile(const Word* in, int words, const Word* weight, const float* bias, int width, Word* out, int64_t at) {
    alignas(64) float sums[16 * V * LANES];
    _tile_loadd(0, bias, 0);
    if constexpr (V == 4) {
        _tile_loadd(1, bias + 16, 0);
        _tile_loadd(2, bias + 32, 0);
        _tile_loadd(3, bias + 48, 0);
    }
    for (int k = 0; k < words; k += 16, weight += 16 * width) {
        _tile_loadd(4, in + k, 4 * words);
        _tile_loadd(5, weight, 4 * width);
        _tile_dpbf16ps(0, 4, 5);
        if constexpr (V == 4) {
            _tile_loadd(6, weight + 16, 4 * width);
            _tile_dpbf16ps(1, 4, 6);
            _tile_loadd(5, weight + 32, 4 * width);
            _tile_dpbf16ps(2, 4, 5);
            _tile_loadd(6, weight + 48, 4 * width);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    _tile_stored(0, sums, 64 * V);
    if constexpr (V == 4) {
        _tile_stored(1, sums + 16, 64 * V);
        _tile_stored(2, sums + 32, 64 * V);
        _tile_stored(3, sums + 48, 64 * V);
    }
    for (int m = 0; m < 16; ++m)
        for (int v = 0; v < V; ++v) {
            const Vec sum = load(sums + (m * V + v) * LANES);
            const int64_t i = at + m * width + v * LANES;
            if (LAST) store(out + i, sum);
            else keep<true>(out, i, elu<true>(sum));
        }
}
#endif

// A layer for so many cells: in [cells][in_width], weight [in_width][width], widths multiples of PAD. In bfloat16 the
// weight is [in_width / 2][width][2] and in_width a multiple of 2 PAD. Cells up to the end of a tile are written too.
template <bool BF16, bool LAST>
void layer(const Word* in, int cells, int in_width, const Word* weight, const float* bias, int width, Word* out) {
    const int words = BF16 ? in_width / 2 : in_width;
    const auto columns = [&](auto step, int at, int at_once) {
        for (int m = 0; m < cells; m += at_once)
            step(in + m * words, words, weight + at, bias + at, width, out, (int64_t)m * width + at);
    };
    int at = 0;
#ifdef MATRIX_UNIT
    if constexpr (BF16) {
        for (; at + 4 * LANES <= width; at += 4 * LANES) columns(unit_tile<4, LAST>, at, 16);
        for (; at < width; at += LANES) columns(unit_tile<1, LAST>, at, 16);
    }
#endif
    for (; at + TILE * LANES <= width; at += TILE * LANES) columns(tile<BF16, 6, TILE, LAST>, at, 6);
    for (; at < width; at += LANES) columns(tile<BF16, 12, 1, LAST>, at, 12);
}

struct Law {
    int32_t channels, filters, layers, periodic, bf16;  // filters 0: no neighbourhood
    int32_t constraint;                                 // 0: norm 1 per cell, 1: none, 2: low <= x <= high
    float low, high;
    float rate;                                         // of cells that move in a step; 1: all, and nothing is drawn
    const int32_t* widths;                              // [layers + 1], all multiples of PAD
    const float* stencil;                               // [filters][9][padded channels]
    const Word* const* weights;                         // [layers] of [widths[l]][widths[l + 1]]
    const float* const* biases;                         // [layers] of [widths[l + 1]]
};

struct Universe {
    const float* now;
    float* next;  // both [height][width][channels]
    int height, width;
    float gamma;
    int64_t seed, clock;
};

#ifdef MATRIX_UNIT
// The matrix unit of a thread, set up with tiles as `unit_tile` has them and let go at the end, as oneDNN does too.
struct MatrixUnit {
    const bool used;

    explicit MatrixUnit(bool use) : used(use) {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } shapes;
        for (int t = 0; t < 7; ++t) shapes.row_bytes[t] = 64, shapes.rows[t] = 16;
        if (used) _tile_loadconfig(&shapes);
    }
    ~MatrixUnit() {
        if (used) _tile_release();
    }
};
#endif

struct alignas(64) Line {
    float at[PAD];
};

struct Room {  // what a thread works in; a load that straddles two cache lines costs two
    std::vector<Line> rows, in, out;
};

// A row of the grid with a cell of halo on each side, channels padded by zeros.
void copy_row(const Law& law, const Universe& u, int y, float* row) {
    const int c = law.channels, wide = padded(c);
    if ((y < 0 || y >= u.height) && !law.periodic) {
        std::memset(row, 0, sizeof(float) * wide * (u.width + 2));
        return;
    }
    const float* from = u.now + (int64_t)((y + u.height) % u.height) * u.width * c;
    if (c == wide) std::memcpy(row + wide, from, sizeof(float) * c * u.width);
    else for (int x = 0; x < u.width; ++x) std::memcpy(row + (x + 1) * wide, from + x * c, sizeof(float) * c);
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
    for (int c = std::max(law.filters, 1) * wide; c < width; c += LANES)
        for (int m = 0; m < cells; ++m) keep<BF16>(out, m * width + c, Vec{});
    for (int c = 0; c < wide; c += LANES) {
        const float* near[3];
        for (int y = 0; y < 3; ++y) near[y] = rows[y] + x * wide + c;
        for (int m = 0; m < cells && !law.filters; ++m) keep<BF16>(out, m * width + c, load(near[1] + (m + 1) * wide));
        for (int f = 0; f < law.filters; ++f) {
            Vec w[9];
            for (int t = 0; t < 9; ++t) w[t] = load(law.stencil + (f * 9 + t) * wide + c);
            for (int m = 0; m < cells; ++m) {
                Vec sum = {};
                for (int t = 0; t < 9; ++t) sum += load(near[t / 3] + (m + t % 3) * wide) * w[t];
                keep<BF16>(out, m * width + f * wide + c, sum);
            }
        }
    }
}

// What the constraint makes of numbers of a cell with this norm.
inline Vec constrain(const Law& law, Vec phi, float norm) {
    if (law.constraint == 0) return phi / all(norm + 1e-9f);
    if (law.constraint == 1) return phi;
    const Vec above = phi < all(law.low) ? all(law.low) : phi;
    return above > all(law.high) ? all(law.high) : above;
}

// The update and the constraint of a strip. Returns whether phi is finite in its cells.
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
        for (int i = 0; i < c; i += LANES) {
            const Vec after = constrain(law, phi(i), norm);
            float* to = u.next + (first + m) * c + i;
            if (c - i >= LANES) store(to, after);
            else std::memcpy(to, &after, sizeof(float) * (c - i));
        }
    }
    return finite;
}

// Rows first .. last of a universe, one step. Returns whether all of their cells are finite.
template <bool BF16>
bool step_rows(const Law& law, const Universe& u, int first, int last, Room& room) {
    const int wide = padded(law.channels), L = law.layers;
    const int64_t row = (int64_t)wide / PAD * (u.width + 2);
    const int64_t widest = *std::max_element(law.widths, law.widths + L + 1) / PAD;
    room.rows.resize(3 * row);
    room.in.resize(STRIP * widest);
    room.out.resize(STRIP * widest);
    float* rows[3] = {room.rows[0].at, room.rows[row].at, room.rows[2 * row].at};
    copy_row(law, u, first - 1, rows[0]);
    copy_row(law, u, first, rows[1]);
    bool finite = true;
    for (int y = first; y < last; ++y) {
        copy_row(law, u, y + 1, rows[2]);
        for (int x = 0; x < u.width; x += STRIP) {
            const int cells = std::min(STRIP, u.width - x);
            float *in = room.in[0].at, *out = room.out[0].at;
            perceive<BF16>(law, rows, x, cells, in);
            for (int l = 0; l < L; ++l, std::swap(in, out)) {
                const auto one = l + 1 < L ? layer<BF16, false> : layer<BF16, true>;
                one(in, cells, law.widths[l], law.weights[l], law.biases[l], law.widths[l + 1], out);
            }
            finite &= finish(law, u, rows[1] + (x + 1) * wide, in, (int64_t)y * u.width + x, cells);
        }
        std::rotate(rows, rows + 1, rows + 3);
    }
    return finite;
}

// Waits until so many steps are made.
void wait_for(const std::atomic<int>& made, int steps) {
    for (int tries = 0; made.load(std::memory_order_acquire) < steps;)
        if (tries < 1000) ++tries;
        else std::this_thread::yield();
}

}  // namespace

// Whether this process may use the instructions for laws in bfloat16; to be asked before the first of them.
extern "C" int leym_cells_bf16() {
#ifdef MATRIX_UNIT
    constexpr int REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, for all threads of the process
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#elif defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}

// Advances the occupied slots by `steps` steps, in place. state, scratch: float32 [batch][height][width][channels];
// gamma: float32 [batch]; seed, clock, good, occupied: int64 [batch]. clock grows by one per step, good by one per
// step whose state is finite.
extern "C" void leym_cells(const Law* law, float* state, float* scratch, const float* gamma, const int64_t* seed,
                           int64_t* clock, int64_t* good, const int64_t* occupied, int batch, int height, int width,
                           int steps, int threads) {
    const int64_t size = (int64_t)height * width * law->channels;
    std::vector<int> slots;
    for (int b = 0; b < batch; ++b)
        if (occupied[b]) slots.push_back(b);
    const int universes = slots.size();
    if (!universes) return;
    const int bands = std::clamp(4 * threads / universes, 1, height);  // of rows of each, so that all threads have some
    const int tasks = universes * bands;
    std::vector<int> finite((size_t)steps * universes, 1);
    std::vector<std::atomic<int>> done(tasks);  // steps that each band has made
    std::atomic<int64_t> next{0};
    float* sides[2] = {state, scratch};
    const auto step_band = law->bf16 ? step_rows<true> : step_rows<false>;
    #pragma omp parallel num_threads(threads)
    {
        Room room;
#ifdef MATRIX_UNIT
        const MatrixUnit unit(law->bf16);
#endif
        // No barrier after a step: a band waits for itself and its neighbours only, so that a thread which another
        // program interrupts holds up the others only when they are a whole step ahead. Tasks are taken in the order
        // of the steps, so what one waits for is done or in work.
        for (int64_t at; (at = next++) < (int64_t)steps * tasks;) {
            const int step = at / tasks, task = at % tasks, i = task / bands, band = task % bands, b = slots[i];
            for (int side = -1; side <= 1; ++side)
                wait_for(done[i * bands + (band + side + bands) % bands], step);
            const Universe u = {sides[step % 2] + b * size, sides[1 - step % 2] + b * size, height, width,
                                gamma[b], seed[b], clock[b] + step};
            if (!step_band(*law, u, height * band / bands, height * (band + 1) / bands, room)) {
                #pragma omp atomic write
                finite[(size_t)step * universes + i] = 0;
            }
            done[task].store(step + 1, std::memory_order_release);
        }
    }
    for (int i = 0; i < universes; ++i) {
        const int b = slots[i];
        if (steps % 2) std::memcpy(state + b * size, scratch + b * size, sizeof(float) * size);
        clock[b] += steps;
        for (int step = 0; step < steps; ++step) good[b] += finite[(size_t)step * universes + i];
    }
}
