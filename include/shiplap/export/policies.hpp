#pragma once
// policies: the type lists from which names at run time become types. Each list is the only registry of its
// axis: a new codec is one header and one word here.
//
//     std::optional<builtin_codecs::variant> found = builtin_codecs::named("zstd");
//     std::visit([](auto const& codec) { ... }, *found);

#include <shiplap/codec/any_backend.hpp>
#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/digest/sha2.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace shiplap {

/// Policies that are told apart by their static member `name`.
template <class... Policies>
struct policy_list {
    using variant = std::variant<Policies...>;

    /// A default-constructed policy of that name.
    static std::optional<variant> named(std::string_view name) {
        std::optional<variant> found;
        ((Policies::name == name ? void(found.emplace(Policies{})) : void()), ...);
        return found;
    }

    /// All names, for messages: "uncompressed, gzip".
    static std::string names() {
        std::string text;
        ((text += (text.empty() ? "" : ", ") + std::string{Policies::name}), ...);
        return text;
    }
};

/// With a backend that is chosen at run time.
using any_gzip = basic_gzip<any_backend>;
using any_estargz = basic_estargz<any_backend>;

using builtin_codecs = policy_list<uncompressed, any_gzip, any_estargz, zstd>;
using builtin_digests = policy_list<sha256, sha512>;

} // namespace shiplap
