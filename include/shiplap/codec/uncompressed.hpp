#pragma once
// uncompressed: the tar as it is. Needs no library.

#include <shiplap/codec/concept.hpp>

namespace shiplap {

/// Passes every byte through. pack() knows this type: what goes in and what comes out has one digest, so it
/// is computed once.
struct identity_stage {
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        out.write(in);
    }
    template <byte_sink Out>
    void finish(Out&) noexcept {}
};

/// The inverse of identity_stage, which is itself.
struct identity_decoder {
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        return in.read(into);
    }
};

/// No compression. A level is accepted, as one option string may serve several codecs, and has no effect.
struct uncompressed {
    static constexpr std::string_view name = "uncompressed", encoding = "";

    int level = 0; ///< ignored

    [[nodiscard]] static constexpr level_range levels() { return {default_level, 22}; }
    [[nodiscard]] identity_stage encoder(executor_ref) const noexcept { return {}; }
    [[nodiscard]] static identity_decoder decoder() noexcept { return {}; }
    friend bool operator==(uncompressed const&, uncompressed const&) = default;
};

} // namespace shiplap
