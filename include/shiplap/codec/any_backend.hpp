#pragma once
// any_backend: any deflate_backend as a value, for a choice at run time. Costs one indirect call a block.
//
//     basic_gzip<any_backend> how{.level = 9, .backend = zlib_backend{}};

#include <shiplap/codec/zlib_backend.hpp>

#include <memory>
#include <type_traits>
#include <utility>

namespace shiplap {

/// Owns any block_compressor; movable. A checksummer, whether that one is or not.
class any_compressor {
  public:
    template <class C>
        requires(!std::same_as<C, any_compressor> && block_compressor<C>)
    explicit any_compressor(C compressor) : self_{std::make_unique<model<C>>(std::move(compressor))} {}

    [[nodiscard]] std::size_t bound(std::size_t size) const { return self_->bound(size); }
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) { return self_->compress(in, into); }
    [[nodiscard]] std::uint32_t crc32(bytes_view in) const { return self_->crc32(in); }

  private:
    struct base {
        base() = default;
        base(base const&) = delete;
        base& operator=(base const&) = delete;
        virtual ~base() = default;
        [[nodiscard]] virtual std::size_t bound(std::size_t size) const = 0;
        [[nodiscard]] virtual std::size_t compress(bytes_view in, bytes_span into) = 0;
        [[nodiscard]] virtual std::uint32_t crc32(bytes_view in) const = 0;
    };
    template <class C>
    struct model final : base {
        explicit model(C what) : compressor{std::move(what)} {}
        [[nodiscard]] std::size_t bound(std::size_t size) const override { return compressor.bound(size); }
        [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) override {
            return compressor.compress(in, into);
        }
        [[nodiscard]] std::uint32_t crc32(bytes_view in) const override {
            return detail::checksum(compressor, in);
        }
        C compressor;
    };
    std::unique_ptr<base> self_;
};

/// A deflate_backend like the one that it was made of, zlib_backend by default. Two are equal that have the same name.
class any_backend {
  public:
    any_backend() : any_backend{zlib_backend{}} {}

    /// `B` is a policy without a state: its type alone is kept.
    template <class B>
        requires std::is_empty_v<B> && std::default_initializable<B> && deflate_backend<B>
        any_backend(B) // NOLINT(google-explicit-constructor): a value conversion that loses nothing
            : name{B::name}, levels{B::levels}, make_{[](int level) {
                  return any_compressor{B{}.compressor(level)};
              }} {}

        std::string_view name;
        level_range levels;

        [[nodiscard]] any_compressor compressor(int level) const {
            return make_(level);
        }
        friend bool operator==(any_backend const& a, any_backend const& b) {
            return a.name == b.name;
        }

      private:
        any_compressor (*make_)(int level);
};

} // namespace shiplap
