// A library whose time is spent in calls that the compiler inlines, and in a template.
#include <cstddef>
#include <numeric>
#include <vector>

namespace hot {
template <class T> struct Mixer {
    std::vector<T> values;
    __attribute__((always_inline)) T step(T x) const {
        T sum = x;
        for (const T &value : values) sum = (sum << 1) ^ (value + (sum >> 3));
        return sum;
    }
    __attribute__((noinline)) T turn(T x, int times) const {
        for (int i = 0; i < times; i++) x = step(x);
        return x;
    }
};
}  // namespace hot

extern "C" long mix(long x, int times) {
    hot::Mixer<long> mixer{std::vector<long>(64)};
    std::iota(mixer.values.begin(), mixer.values.end(), x);
    return mixer.turn(x, times);
}
