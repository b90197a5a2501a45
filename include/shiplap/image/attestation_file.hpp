#pragma once
// attestation_file: attestations as they lie on disk:
//
//     read_attestations("sbom.spdx.json", spdx_predicate)     a predicate, of the type that is given
//     read_attestations("statement.json")                     a complete in-toto statement
//     read_attestations("statements/")                        a bundle: a directory of statements

#include <shiplap/bytes/file.hpp>
#include <shiplap/image/attestation.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

inline std::string read_attestation_file(std::string const& path) {
    std::error_code problem;
    auto const status = std::filesystem::status(path, problem);
    if (status.type() == std::filesystem::file_type::not_found)
        throw error{error_code::not_found, "read attestation", path, "no such file or directory"};
    if (problem) throw system_error{"read attestation", path, problem.value()};
    if (!std::filesystem::is_regular_file(status))
        throw error{error_code::unsupported, "read attestation", path, "is not a regular file"};
    if (auto const size = std::filesystem::file_size(path, problem); !problem && size > max_attestation_size)
        throw format_error{"read attestation", path,
                           "exceeds " + std::to_string(max_attestation_size) + " bytes"};
    return read_file(path, max_attestation_size);
}

inline bool is_statement_type(std::string_view type) noexcept {
    return type == "https://in-toto.io/Statement/v1" || type == "https://in-toto.io/Statement/v0.1";
}

inline void require_predicate_type(std::string_view found, std::string_view required,
                                   std::string_view subject) {
    if (!required.empty() && found != required)
        throw format_error{"read attestation", std::string{subject},
                           "the predicate type " + printable(found) +
                               " does not match required predicate type " + printable(required)};
}

inline attestation read_statement(json_node const& root, std::string_view text, std::string_view subject,
                                  std::string_view required) {
    attestation out{.predicate_type = root["predicateType"].text()};
    if (out.predicate_type.empty()) root["predicateType"].refuse("must not be empty");
    require_predicate_type(out.predicate_type, required, subject);
    auto const subjects = root["subject"];
    for (std::size_t i = 0; i < subjects.length(); ++i) {
        auto const one = subjects.item(i);
        auto const digests = one["digest"];
        attestation_subject about{.name = one.text_of("name")};
        for (auto const& [algorithm, hex] : digests.object()) {
            if (!hex.is_string()) digests.refuse("the value of \"" + algorithm + "\" must be a string");
            about.digests.emplace(algorithm, *hex.get_ptr<json::string_t const*>());
        }
        if (about.digests.empty()) digests.refuse("must not be empty");
        out.subjects.push_back(std::move(about));
    }
    if (auto const predicate = root["predicate"]) {
        static_cast<void>(predicate.object());
        out.predicate = split_members(text).at("predicate");
    }
    return out;
}

} // namespace detail

/// Reads a complete in-toto statement; its predicate must be of the type `required`, if one is. What the
/// statement is about stays as it is; if that is nothing, it will be the image. Throws format_error.
inline attestation parse_statement(std::string_view text, std::string_view subject,
                                   std::string_view required = {}) {
    auto const document = parse_json(text, subject, {max_attestation_size, true});
    json_node const root{document, subject};
    if (!detail::is_statement_type(root["_type"].text()))
        root["_type"].refuse("must be https://in-toto.io/Statement/v1");
    return detail::read_statement(root, text, subject, required);
}

/// Reads what `path` holds, in one of the forms above: a predicate needs `type`; statements must have that
/// type, if one is given. Throws format_error, option_error if the type is missing, error{not_found}.
inline std::vector<attestation> read_attestations(std::string const& path, std::string_view type = {}) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
        std::vector<std::string> files;
        for (auto const& entry : std::filesystem::directory_iterator{path})
            files.push_back(entry.path().string());
        if (files.empty())
            throw error{error_code::not_found, "read attestation", path, "the bundle is empty"};
        std::sort(files.begin(), files.end()); // readdir() has no order
        std::vector<attestation> out;
        out.reserve(files.size());
        for (auto const& file : files)
            out.push_back(parse_statement(detail::read_attestation_file(file), file, type));
        return out;
    }

    auto text = detail::read_attestation_file(path);
    if (!text.empty()) {
        auto const document = parse_json(text, path, {max_attestation_size, true});
        json_node const root{document, path};
        auto const kind = root["_type"];
        if (kind && kind.value().is_string() && detail::is_statement_type(kind.text()))
            return {detail::read_statement(root, text, path, type)};
    }
    if (type.empty())
        throw option_error{"attestation", "'" + printable(path) +
                                              "' is no in-toto statement, so the type of its predicate must "
                                              "be given: sbom, provenance or a URI"};
    return {{.predicate_type = std::string{type}, .predicate = std::move(text)}};
}

} // namespace shiplap
