#pragma once
// any_layer_source: any layer source as a value of one type, for lists of layers that are put together at run
// time.
//
//     std::vector<any_layer_source> layers{directory_layer{"base"}, tar_layer{"app.tar"},
//     blob_in_store(store, facts)};
//
// Cheap to copy: copies share the source. The seam costs one indirect call per chunk of tar.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/layer/concept.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace shiplap {

/// Owns any layer_source. Itself a sized_layer; not a stored_layer, for that is known at run time only: ask
/// stored().
class any_layer_source {
  public:
    template <layer_source L>
        requires(!std::same_as<std::remove_cvref_t<L>, any_layer_source>)
    any_layer_source(L layer) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
        : self_{std::make_shared<model<L> const>(std::move(layer))} {}

    /// The tar of the layer. Throws error{unsupported} if it is stored and cannot write one: ask stored()
    /// first.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        self_->write_tar(byte_sink_ref{out}, context);
    }

    /// What is known of a layer that is packed already; nothing for one that is still to be packed.
    [[nodiscard]] std::optional<layer_blob> stored() const { return self_->stored(); }
    [[nodiscard]] bool is_stored() const { return stored().has_value(); }
    /// The packed bytes of a stored layer. Throws error{unsupported} for any other.
    [[nodiscard]] any_replayable_source reader() const { return self_->reader(); }
    /// The same for who verifies digest and size anyway.
    [[nodiscard]] any_replayable_source unverified_reader() const { return self_->unverified_reader(); }

    /// Whether one is a copy of the other, so that both are the same source.
    [[nodiscard]] bool is_same_as(any_layer_source const& other) const noexcept {
        return self_ == other.self_;
    }

    /// 0 where the source cannot tell.
    [[nodiscard]] std::uint64_t estimated_size() const { return self_->estimated_size(); }
    [[nodiscard]] std::string description() const { return self_->description(); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        virtual void write_tar(byte_sink_ref out, layer_context const& context) const = 0;
        [[nodiscard]] virtual std::optional<layer_blob> stored() const = 0;
        [[nodiscard]] virtual any_replayable_source reader() const = 0;
        [[nodiscard]] virtual any_replayable_source unverified_reader() const = 0;
        [[nodiscard]] virtual std::uint64_t estimated_size() const = 0;
        [[nodiscard]] virtual std::string description() const = 0;
    };

    template <class L>
    struct model final : base {
        explicit model(L from) : layer{std::move(from)} {}

        void write_tar(byte_sink_ref out, layer_context const& context) const override {
            if constexpr (writes_tar<L>)
                layer.write_tar(out, context);
            else
                throw error{error_code::unsupported, "pack", layer.description(), "is packed already"};
        }
        [[nodiscard]] std::optional<layer_blob> stored() const override {
            if constexpr (stored_layer<L>)
                return layer.stored();
            else
                return std::nullopt;
        }
        [[nodiscard]] any_replayable_source reader() const override {
            if constexpr (stored_layer<L>)
                return layer.reader();
            else
                throw error{error_code::unsupported, "read", layer.description(), "is not packed yet"};
        }
        [[nodiscard]] any_replayable_source unverified_reader() const override {
            if constexpr (quick_layer<L>)
                return layer.unverified_reader();
            else
                return reader();
        }
        [[nodiscard]] std::uint64_t estimated_size() const override {
            if constexpr (sized_layer<L>)
                return layer.estimated_size();
            else
                return 0;
        }
        [[nodiscard]] std::string description() const override { return layer.description(); }

        L layer;
    };
    std::shared_ptr<base const> self_;
};

} // namespace shiplap
