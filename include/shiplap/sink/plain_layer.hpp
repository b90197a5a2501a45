#pragma once
// plain_layer: what a packed layer holds, while it is checked: how far it may expand, and that its plain bytes are
// those of the diff_id in the configuration (image-spec, config.md, "Layer DiffID").
//
//     plain_layer plain{packed, "gzip", diff_id, limits, "layer 1 (sha256:...)"};
//     ... plain.read(buffer) ...       // a byte_source
//     plain.finish();                  // reads what is left, and checks

#include <shiplap/bytes/erased.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/sink/extraction.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// Counts what is read.
struct counting_source {
    replayable_source_ref from;
    std::uint64_t& count;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        count += n;
        return n;
    }
};

/// The plain bytes of a layer: bounded in what they may expand to, and hashed.
class plain_layer {
  public:
    /// Reads from `packed`, which holds a layer in this encoding; `subject` names it in messages.
    plain_layer(replayable_source_ref packed, std::string_view encoding, digest expected,
                extraction_limits const& limits, std::string subject)
        : packed_{packed},
          plain_{decode_as(encoding, any_byte_source{counting_source{packed, packed_size_}})},
          expected_{std::move(expected)},
          limits_{limits},
          subject_{std::move(subject)},
          hasher_{expected_} {}
    plain_layer(plain_layer const&) = delete;
    plain_layer& operator=(plain_layer const&) = delete;
    ~plain_layer() = default;

    std::size_t read(bytes_span into) {
        auto const n = plain_.read(into);
        size_ += n;
        if (size_ > limits_.bytes) refuse("has more than " + std::to_string(limits_.bytes) + " plain bytes");
        if (size_ > limits_.free_expansion && size_ / limits_.expansion > packed_size_)
            refuse("expands to more than " + std::to_string(limits_.expansion) + " times its size");
        hasher_.update(into.first(n));
        return n;
    }

    /// Reads what is left; throws digest_mismatch if the bytes are not those of the diff_id.
    void finish() {
        null_sink drop;
        transfer(*this, drop);
        transfer(packed_, drop); // what the decoder left, so that the source verifies all of it
        auto const found = hasher_.finish();
        if (found != expected_)
            throw digest_mismatch{"extract", subject_,
                                  "unpacks to " + found.text() + ", its configuration says " +
                                      expected_.text()};
    }

  private:
    [[noreturn]] void refuse(std::string reason) const {
        throw error{error_code::unsafe_entry, "decompress", subject_, std::move(reason)};
    }

    replayable_source_ref packed_;
    std::uint64_t packed_size_ = 0, size_ = 0;
    any_byte_source plain_;
    digest expected_;
    extraction_limits limits_;
    std::string subject_;
    digest_hasher hasher_;
};

/// The diff_ids of the configuration that is read from `from`, one for each of so many layers. Throws
/// format_error.
inline std::vector<digest> read_diff_ids(descriptor const& what, replayable_source_ref from,
                                         std::size_t layers) {
    if (what.size > max_document_size)
        throw format_error{"read image config", what.digest.text(),
                           "has more than " + std::to_string(max_document_size) + " bytes"};
    string_sink text;
    transfer(from, text);
    auto diff_ids = read_config(text.text, what.digest.text()).diff_ids;
    if (diff_ids.size() != layers)
        throw format_error{"read image config", what.digest.text(),
                           "has " + std::to_string(diff_ids.size()) + " diff_ids for " +
                               std::to_string(layers) + " layers"};
    return diff_ids;
}

} // namespace detail

} // namespace shiplap
