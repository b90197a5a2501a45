#pragma once
// Small images in memory, for tests of what moves or stores images, and the members of a tar as values.

#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/store/memory.hpp>
#include <shiplap/tar/reader.hpp>
#include <shiplap/tar/writer.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct tar_member {
    shiplap::tar_entry entry;
    std::string content;
};

/// A tar file of these members; sizes are taken from the contents.
inline std::string make_tar(std::vector<tar_member> members) {
    shiplap::string_sink out;
    shiplap::tar_writer tar{out};
    for (auto& [entry, content] : members) {
        entry.size = content.size();
        tar.entry(entry);
        tar.write(shiplap::as_bytes(content));
    }
    tar.finish();
    return std::move(out.text);
}

inline tar_member tar_file(std::string name, std::string content) {
    shiplap::tar_entry entry;
    entry.name = std::move(name);
    entry.mode = 0644;
    return {std::move(entry), std::move(content)};
}

inline tar_member tar_link(std::string name, std::string target, shiplap::entry_type type) {
    shiplap::tar_entry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = 0777;
    entry.link_name = std::move(target);
    return {std::move(entry), {}};
}

inline std::vector<tar_member> read_tar(std::string_view bytes) {
    shiplap::span_source source{bytes};
    shiplap::tar_reader reader{source, "test"};
    std::vector<tar_member> members;
    while (auto const* entry = reader.next()) {
        members.push_back({*entry, {}});
        shiplap::string_sink content;
        shiplap::transfer(reader, content);
        members.back().content = std::move(content.text);
    }
    return members;
}

template <shiplap::codec C>
std::string encoded_with(C const& how, std::string_view plain) {
    shiplap::string_sink out;
    auto encoder = how.encoder(shiplap::executor_ref{});
    shiplap::pipeline pipe{encoder, out};
    pipe.write(shiplap::as_bytes(plain));
    pipe.finish();
    return std::move(out.text);
}

/// "" , "gzip" or "zstd".
inline std::string encoded(std::string_view encoding, std::string_view plain) {
    if (encoding == "gzip") return encoded_with(shiplap::gzip{}, plain);
    if (encoding == "zstd") return encoded_with(shiplap::zstd{}, plain);
    return std::string{plain};
}

template <shiplap::digest_algorithm D = shiplap::sha256>
shiplap::descriptor put_text(shiplap::memory_store& store, std::string_view media_type,
                             std::string_view text) {
    auto const digest = shiplap::digest::of<D>(shiplap::as_bytes(text));
    auto blob = store.open();
    blob.write(shiplap::as_bytes(text));
    blob.commit({digest, text.size()});
    return {.media_type = std::string{media_type}, .digest = digest, .size = text.size()};
}

struct sample_image {
    shiplap::memory_store blobs;
    shiplap::descriptor root;
    shiplap::image_manifest manifest;
    std::string config;
};

/// An image of some layers with a file each.
template <shiplap::digest_algorithm D = shiplap::sha256>
sample_image make_image(shiplap::media_type_table const& types = shiplap::table_of<shiplap::oci_media_types>,
                        std::string_view encoding = "", unsigned layers = 2,
                        std::string_view text = "hello") {
    using namespace shiplap;
    descriptor const nothing{.media_type = {}, .digest = digest::of<D>({})};
    sample_image out{{}, nothing, {.media_type = std::string{types.manifest}, .config = nothing}, {}};
    std::string diff_ids;
    for (unsigned i = 0; i < layers; ++i) {
        auto const tar =
            make_tar({tar_file("layer" + std::to_string(i), std::string{text} + std::to_string(i))});
        diff_ids += (i == 0 ? "\"" : ",\"") + digest::of<D>(as_bytes(tar)).text() + "\"";
        out.manifest.layers.push_back(put_text<D>(out.blobs, types.layer(encoding), encoded(encoding, tar)));
    }
    out.config =
        R"({"architecture":"arm64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[)" +
        diff_ids + R"(]},"variant":"v8"})";
    out.manifest.config = put_text<D>(out.blobs, types.config, out.config);
    out.root = put_text<D>(out.blobs, types.manifest, to_text(out.manifest));
    return out;
}
