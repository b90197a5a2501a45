// What a user sees who gives the exporter a wrong policy. The codec without a name in the table is a rule
// across two policies, so a static_assert says it in a sentence.
//
// reject 1: codec encoder idle
// reject 2: media_types layer shapeless
// reject 3: digest_algorithm hasher hashless
// reject 4: image_sink takes_content put
// reject 5: export_env lends_progress progress
// reject 6: media-type table codec inherit
#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/sink/memory.hpp>

using namespace shiplap;

struct idle {
    static constexpr std::string_view name = "idle", encoding = "";
    static identity_decoder decoder() { return {}; }
};
struct xz : uncompressed {
    static constexpr std::string_view name = "xz", encoding = "xz";
};
struct shapeless {
    static constexpr std::string_view index = "i", manifest = "m", config = "c";
    static constexpr bool layer_annotations = true;
};
struct xz_media_types : oci_media_types {
    static constexpr std::string_view layer(std::string_view encoding) {
        return encoding == "xz" ? "application/vnd.oci.image.layer.v1.tar+xz"
                                : oci_media_types::layer(encoding);
    }
};
struct hashless {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
};
struct full {
    bool exists(descriptor const&) const { return false; }
    void tag(descriptor const&, image_name const&) {}
    void commit() {}
};
struct silent_env {
    inline_executor executor;
    keep_timestamps timestamps;
};

using right = exporter<uncompressed, oci_media_types, sha256, memory_sink>;
using right_too = exporter<xz, xz_media_types, sha512, memory_sink, default_env>;
void use(right&, right_too&);

#if REJECT == 1
exporter<idle, oci_media_types, sha256, memory_sink>* wrong;
#elif REJECT == 2
exporter<uncompressed, shapeless, sha256, memory_sink>* wrong;
#elif REJECT == 3
exporter<uncompressed, oci_media_types, hashless, memory_sink>* wrong;
#elif REJECT == 4
exporter<uncompressed, oci_media_types, sha256, full>* wrong;
#elif REJECT == 5
exporter<uncompressed, oci_media_types, sha256, memory_sink, silent_env>* wrong;
#else
template class shiplap::exporter<xz, xz_media_types, sha256, memory_sink>;
#if REJECT == 6
exporter<xz, oci_media_types, sha256, memory_sink> wrong{xz{}, {}, {}, memory_sink{}};
#endif
#endif
