#pragma once
// squashed_layer: several layers as one layer_source. No content is kept; whenever it is packed, it reads the
// layers that it is made of, bottom first, and leaves out what is hidden (flatten.hpp says what that is).
//
//     auto surveyed = std::make_shared<layer_flattener>(flattened::changes);
//     ... surveyed->survey(i, entry) ...                 // as flatten.hpp says; layer_entries finds the entries
//     squashed_layer layer{{lower, upper}, surveyed};
//
// export/squash.hpp makes one of the layers of an image.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/sink/flatten.hpp>
#include <shiplap/tar/scanner.hpp>
#include <shiplap/tar/whiteout.hpp>
#include <shiplap/tar/writer.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// A byte_sink that takes a layer's tar apart: `on_entry(entry)` tells whether its payload, if it has any, is
/// to go to `on_payload(piece)`.
template <class OnEntry, class OnPayload>
class layer_entries {
  public:
    layer_entries(any_layer_source const& layer, OnEntry on_entry, OnPayload on_payload)
        : scanner_{layer.description()}, on_entry_{std::move(on_entry)}, on_payload_{std::move(on_payload)} {}

    void write(bytes_view in) {
        while (!in.empty()) {
            auto const found = scanner_.next(in);
            if (found == tar_scanner::event::entry)
                wanted_ = on_entry_(scanner_.entry());
            else if (found == tar_scanner::event::payload && wanted_)
                on_payload_(scanner_.payload());
        }
    }
    void finish() const { scanner_.finish(); }

  private:
    tar_scanner scanner_;
    bool wanted_ = false;
    OnEntry on_entry_;
    OnPayload on_payload_;
};

/// Throws `failure` again as one of the layer `number`, counted from 1.
[[noreturn]] inline void throw_for_layer(error& failure, std::size_t number, any_layer_source const& layer) {
    failure.within("layer " + std::to_string(number) + " (" + printable(layer.description()) + ")");
    throw; // NOLINT(misc-throw-by-value-catch-by-reference): called from the handler
}

} // namespace detail

/// A layer_source: several layers as one.
class squashed_layer {
  public:
    /// `surveyed` has seen all entries of `parts`, which are bottom first.
    squashed_layer(std::vector<any_layer_source> parts, std::shared_ptr<layer_flattener const> surveyed)
        : parts_{std::move(parts)}, surveyed_{std::move(surveyed)} {}

    /// Throws what the layers throw, and error{unsupported} as layer_flattener does.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        auto flattener = *surveyed_; // which goes on from there each time
        tar_writer tar{out};
        bool has_payload = false;
        auto const write = [&](tar_entry entry) {
            if (!is_reserved_name(entry.name.substr(entry.name.rfind('/') + 1)))
                entry.mtime = context.time(entry.mtime);
            tar.entry(entry);
            has_payload = entry.size != 0;
        };
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            auto const decide = [&](tar_entry const& entry) {
                has_payload = false;
                flattener.decide(i, entry, write);
                return has_payload;
            };
            detail::layer_entries entries{parts_[i], decide, [&](bytes_view piece) { tar.write(piece); }};
            try {
                parts_[i].write_tar(entries, {{}, context.progress});
                entries.finish();
            } catch (error& failure) {
                detail::throw_for_layer(failure, i + 1, parts_[i]);
            }
        }
        tar.finish();
    }

    [[nodiscard]] std::string description() const {
        return "squash of " + std::to_string(parts_.size()) + " layers";
    }

  private:
    std::vector<any_layer_source> parts_;
    std::shared_ptr<layer_flattener const> surveyed_;
};

} // namespace shiplap
