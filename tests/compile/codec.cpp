// reject 1: codec encoder idle
// reject 2: codec byte_stage finish
// reject 3: codec named_codec encoding
// reject 4: codec decoder
#include <shiplap/codec/concept.hpp>

using namespace shiplap;

struct stage {
    void write(bytes_view in, byte_sink auto& out) { out.write(in); }
    void finish(byte_sink auto&) {}
};
struct half_stage {
    void write(bytes_view in, byte_sink auto& out) { out.write(in); }
};
struct reader {
    std::size_t read(byte_source auto& in, bytes_span into) { return in.read(into); }
};

struct store {
    static constexpr std::string_view name = "store", encoding = "";
    static stage encoder(executor_ref) { return {}; }
    static reader decoder() { return {}; }
};
struct idle {
    static constexpr std::string_view name = "idle", encoding = "";
    static reader decoder() { return {}; }
};
struct unfinished : store {
    static half_stage encoder(executor_ref) { return {}; }
};
struct unnamed {
    static constexpr std::string_view name = "unnamed";
    static stage encoder(executor_ref) { return {}; }
    static reader decoder() { return {}; }
};
struct one_way {
    static constexpr std::string_view name = "one-way", encoding = "";
    static stage encoder(executor_ref) { return {}; }
};

template <codec Codec>
struct uses {
    Codec how;
};

uses<store> right;
#if REJECT == 1
uses<idle> wrong;
#elif REJECT == 2
uses<unfinished> wrong;
#elif REJECT == 3
uses<unnamed> wrong;
#elif REJECT == 4
uses<one_way> wrong;
#endif
