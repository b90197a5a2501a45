// reject 1: media_types layer shapeless
#include <shiplap/image/media_types.hpp>

struct own_media_types : shiplap::oci_media_types {
    static constexpr std::string_view layer(std::string_view encoding) {
        return encoding == "xz" ? "application/vnd.oci.image.layer.v1.tar+xz"
                                : oci_media_types::layer(encoding);
    }
};
struct shapeless {
    static constexpr std::string_view index = "i", manifest = "m", config = "c";
    static constexpr bool layer_annotations = true;
};

auto const& right = shiplap::table_of<own_media_types>;
#if REJECT == 1
auto const& wrong = shiplap::table_of<shapeless>;
#endif
