#include <shiplap/codec/libdeflate_backend.hpp>
#include <shiplap/export/spec.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

export_spec spec_of(std::string const& text) {
    return export_spec::from(parse_attributes(text));
}

std::string codec_of(export_spec const& spec) {
    return std::visit(
        [](auto const& codec) { return std::string{codec.name} + " " + std::to_string(codec.level); },
        spec.codec);
}

} // namespace

TEST_CASE("defaults", "[spec]") {
    auto const spec = spec_of("type=docker,dest=a.tar");
    CHECK(spec.type == output_type::docker);
    CHECK(spec.tar);
    CHECK(spec.destination == "a.tar");
    CHECK(spec.names.empty());
    CHECK(codec_of(spec) == "gzip " + std::to_string(gzip{}.level));
    CHECK_FALSE(spec.oci_types);
    CHECK_FALSE(spec.epoch);
    CHECK_FALSE(spec.rewrite_timestamps);
    CHECK_FALSE(spec.prefer_nondistributable);
    CHECK_FALSE(spec.compression_asked);
    CHECK(spec_of("type=oci").destination == "-");
    CHECK(spec_of("type=image").destination.empty());
}

TEST_CASE("which family of media types", "[spec]") {
    struct row {
        std::string text;
        bool oci;
    };
    auto const& [text, oci] = GENERATE(values<row>({
        {"type=oci", true},
        {"type=oci,oci-mediatypes=false", true},
        {"type=image", false},
        {"type=docker", false},
        {"type=docker,oci-mediatypes=true", true},
        {"type=docker,compression=zstd", true},
        {"type=docker,compression=zstd,oci-mediatypes=false", false},
        {"type=docker,compression=estargz", true},
        {"type=docker,annotation.a=b", true},
        {"type=docker,annotation.a=b,oci-mediatypes=false", false},
        {"type=docker,oci-artifact=true", true},
        {"type=docker,oci-artifact=false", false},
        {"type=docker,compatibility-version=30", true},
        {"type=docker,compatibility-version=20", false},
        {"type=docker,compatibility-version=30,oci-mediatypes=0", false},
    }));
    CAPTURE(text);
    CHECK(spec_of(text).oci_types == oci);
}

TEST_CASE("levels", "[spec]") {
    CHECK(codec_of(spec_of("type=oci,compression=gzip,compression-level=0")) == "gzip 0");
    CHECK(codec_of(spec_of("type=oci,compression-level=9,compression=estargz")) == "estargz 9");
    CHECK(codec_of(spec_of("type=oci,compression=zstd,compression-level=22")) == "zstd 22");
    auto const plain = spec_of("type=oci,compression=uncompressed,compression-level=22");
    REQUIRE(plain.warnings.size() == 1);
    CHECK_THAT(plain.warnings[0], contains("no effect"));
}

TEST_CASE("the backend of gzip and estargz is one of those that the caller has", "[spec]") {
    std::vector<any_backend> const backends{libdeflate_backend{}, zlib_backend{}};
    auto const backend_of = [](export_spec const& spec) {
        return std::visit(
            [](auto const& codec) {
                if constexpr (requires { codec.backend; }) return std::string{codec.backend.name};
                return std::string{"none"};
            },
            spec.codec);
    };
    auto const from = [&](std::string const& more) {
        return export_spec::from(parse_attributes("type=oci" + more), backends);
    };
    CHECK(backend_of(spec_of("type=oci")) == "zlib");
    CHECK(backend_of(from("")) == "libdeflate");
    CHECK(backend_of(from(",compression=estargz")) == "libdeflate");
    CHECK(backend_of(from(",compression-variant=zlib,compression=estargz")) == "zlib");
    CHECK(backend_of(from(",compression-variant=libdeflate,compression-variant=zlib")) == "zlib");
    CHECK(from(",compression-level=12").warnings.empty());
    CHECK_THROWS_WITH(from(",compression-variant=zlib,compression-level=12"),
                      contains("12 is no level of gzip by zlib: it must be between -1 and 9"));
    for (std::string const text : {"isal", "", "Zlib", "zlib "})
        CHECK_THROWS_WITH(
            from(",compression-variant=" + text),
            contains("unsupported compression variant " + text + "; known are libdeflate, zlib"));
    for (std::string const codec : {"zstd", "uncompressed"}) {
        auto const spec = from(",compression-variant=zlib,compression=" + codec);
        CHECK(backend_of(spec) == "none");
        REQUIRE(spec.warnings.size() == 1);
        CHECK_THAT(spec.warnings[0], contains("compression-variant has no effect on compression=" + codec));
    }
}

TEST_CASE("names are normalised", "[spec]") {
    auto const names = spec_of("type=oci,\"name=app,example.com/team/app:1.0\"").names;
    REQUIRE(names.size() == 2);
    CHECK(names[0].text() == "docker.io/library/app:latest");
    CHECK(names[1].text() == "example.com/team/app:1.0");
    CHECK(spec_of("type=oci,name=a,name=b").names.size() == 1); // the last one counts
}

TEST_CASE("pushing", "[spec]") {
    auto const spec = spec_of("type=registry,name=r.io/app,registry.insecure=true,store=false");
    CHECK(spec.type == output_type::image);
    CHECK(spec.push);
    CHECK(spec.insecure);
    CHECK(spec.keep == false);
    CHECK(spec.names.at(0).text() == "r.io/app:latest");
    CHECK_FALSE(spec_of("type=image,name=a").push);
    CHECK(spec_of("type=image,name=a,push=").push);
    CHECK(spec_of("type=registry,name=a,push=false").push); // the type says so
    CHECK_FALSE(spec_of("type=image").keep);

    auto const by_digest = spec_of("type=image,push=true,push-by-digest=true,name=r.io/app");
    CHECK(by_digest.push_by_digest);
    CHECK(by_digest.names.at(0).text() == "r.io/app");
}

TEST_CASE("names that wait for the digest", "[spec]") {
    CHECK(spec_of("type=registry,dangling-name-prefix=r.io/app").dangling_prefix == "r.io/app");
    CHECK(spec_of("type=image,name=a,dangling-name-prefix=r.io/b").dangling_prefix == "r.io/b");
    for (std::string const spelling : {"dangling", "danging"})
        CHECK(spec_of("type=image,name=a,dangling-name-prefix=r.io/b," + spelling + "-name-empty-only=true")
                  .dangling_prefix.empty());
    CHECK(spec_of("type=image,name=a,name-canonical=true").canonical_names);
    CHECK_FALSE(spec_of("type=image,dangling-name-prefix=b,name-canonical=true").canonical_names);
}

TEST_CASE("names that the build brings", "[spec]") {
    std::vector<build_result> results{{.names = {"app", "r.io/b:2"}}, {.names = {"r.io/b:2", "c"}}};
    auto const names_of = [&](std::string const& options) {
        std::vector<std::string> out;
        for (auto const& name : spec_of(options).named_after(results).names) out.push_back(name.text());
        return out;
    };
    std::vector<std::string> const all{"docker.io/library/app:latest", "r.io/b:2",
                                       "docker.io/library/c:latest"};
    for (auto const* options : {"type=image,name=*", "type=registry,name=*", "type=oci,name=x,name=*",
                                "type=docker,name=*,dest=a.tar"})
        CHECK(names_of(options) == all);
    CHECK(names_of("type=oci,name=x") == std::vector<std::string>{"docker.io/library/x:latest"});
    CHECK(names_of("type=oci,name=*,name=x") == std::vector<std::string>{"docker.io/library/x:latest"});
    CHECK(names_of("type=oci").empty());

    auto const more = spec_of("type=image,name=*,name-canonical=true,dangling-name-prefix=p,"
                              "dangling-name-empty-only=true");
    CHECK(more.canonical_names);
    CHECK(more.dangling_prefix.empty());
    CHECK_THROWS_WITH(names_of("type=image,push=true,push-by-digest=true,name=*"),
                      contains("can't push tagged ref r.io/b:2 by digest"));
    CHECK_THROWS_WITH(spec_of("type=oci,\"name=a,*\""), contains("failed to parse *"));
    CHECK_THROWS_WITH(spec_of("type=image,name=*,unpack=true,rewrite-timestamp=true,source-date-epoch=1"),
                      contains("conflicts with \"unpack\""));
    results[0].names = {"a b"};
    CHECK_THROWS_AS(names_of("type=oci,name=*"), option_error);
    results[0].names.clear();
    results[1].names.clear();
    CHECK_THROWS_WITH(names_of("type=oci,name=*"), contains("it brings none"));
}

TEST_CASE("annotations land on their object, with their case", "[spec]") {
    auto const spec = spec_of("type=oci,annotation.Org.Key=v,annotation-manifest.x=1,annotation-manifest-"
                              "descriptor.y=2,annotation-index.i=3,annotation-index[linux/amd64].I=4,"
                              "annotation-index-descriptor.d=5");
    CHECK(spec.annotations == annotation_map{{"Org.Key", "v"}, {"x", "1"}});
    CHECK(spec.descriptor_annotations == annotation_map{{"y", "2"}});
    CHECK(spec.index_annotations ==
          annotation_map{{"i", "3"}, {"I", "4"}}); // there is one index for all platforms
    CHECK(spec.index_descriptor_annotations == annotation_map{{"d", "5"}});
    CHECK(spec.for_platforms.empty());
}

TEST_CASE("platforms of annotations are brought to one form", "[spec]") {
    auto const spec =
        spec_of("type=oci,annotation[linux/arm64/v8].a=1,annotation-manifest-descriptor[linux/aarch64].b=2,"
                "annotation[linux/arm].c=3");
    REQUIRE(spec.for_platforms.size() == 2);
    CHECK(format(spec.for_platforms[0].platform) == "linux/arm64");
    CHECK(spec.for_platforms[0].manifest == annotation_map{{"a", "1"}});
    CHECK(spec.for_platforms[0].descriptor == annotation_map{{"b", "2"}});
    CHECK(format(spec.for_platforms[1].platform) == "linux/arm/v7");
}

TEST_CASE("which form attestations have, and whether they are inline", "[spec]") {
    struct row {
        std::string text;
        attestation_form form;
        bool is_inline;
    };
    auto const& [text, form, is_inline] = GENERATE(values<row>({
        {"type=oci", attestation_form::image, false},
        {"type=docker", attestation_form::image, false},
        {"type=image", attestation_form::image, true},
        {"type=image,attestation-inline=false", attestation_form::image, false},
        {"type=oci,attestation-inline=true", attestation_form::image, true},
        {"type=image,oci-artifact=true", attestation_form::artifact, true},
        {"type=oci,compatibility-version=30", attestation_form::artifact, false},
        {"type=oci,compatibility-version=30,oci-artifact=false", attestation_form::image, false},
        {"type=image,compatibility-version=30,oci-mediatypes=false", attestation_form::image, true},
        {"type=image,compatibility-version=20", attestation_form::image, true},
    }));
    CAPTURE(text);
    auto const spec = spec_of(text);
    CHECK(spec.attestations_as == form);
    CHECK(spec.attestations_inline == is_inline);
    CHECK(spec.docker_types_asked == (text.find("mediatypes=false") != text.npos));
}

TEST_CASE("epochs", "[spec]") {
    CHECK(spec_of("type=oci,source-date-epoch=-5").epoch == -5);
    CHECK_FALSE(spec_of("type=oci,source-date-epoch=").epoch);
    CHECK(spec_of("type=oci,source-date-epoch=7,rewrite-timestamp=true").rewrite_timestamps);
}

TEST_CASE("what is wrong is named, with what would be right", "[spec]") {
    struct row {
        std::string text, message;
    };
    auto const& [text, message] = GENERATE(values<row>({
        {"dest=a", "--output requires type=<type>"},
        {"type=registry", "push': needs a name"},
        {"type=image,push=true", "push': needs a name"},
        {"type=image,push=maybe,name=a", "non-bool value specified for push"},
        {"type=registry,push-by-digest=true,name=r.io/a:1", "can't push tagged ref r.io/a:1 by digest"},
        {"type=image,dangling-name-prefix=r.io/a:1", "must be a name without tag and digest"},
        {"type=oci,push=true", "has no meaning for this type of output"},
        {"type=image,pusch=true", "the nearest known one is 'push'"},
        {"type=OCI", "could not be found; known are image, registry, oci"},
        {"type=oci,compresion=gzip", "unknown option at position 10; the nearest known one is 'compression'"},
        {"type=oci,nam=x", "nearest known one is 'name'"},
        {"type=oci,anotation.k1=x", "nearest known one is 'annotation.k1'"},
        {"type=oci,compression=brotli",
         "unsupported compression type brotli; known are uncompressed, gzip, estargz, zstd"},
        {"type=oci,compression=GZIP", "unsupported compression type GZIP"},
        {"type=oci,compression-level=10", "10"},
        {"type=oci,compression=gzip,compression-level=-2", "between -1 and 9"},
        {"type=oci,compression=zstd,compression-level=23", "between 0 and 22"},
        {"type=oci,compression=uncompressed,compression-level=23", "between -1 and 22"},
        {"type=oci,compression-level=six", "non-integer value six specified for compression-level"},
        {"type=oci,compression-level=99999999999999999999", "non-integer value"},
        {"type=docker,oci-mediatypes=yes", "non-bool value specified for oci-mediatypes"},
        {"type=docker,oci-mediatypes=", "non-bool value specified for oci-mediatypes"},
        {"type=oci,force-compression=2", "non-bool value 2 specified for force-compression"},
        {"type=oci,rewrite-timestamp=", "non-bool value specified for rewrite-timestamp"},
        {"type=oci,prefer-nondist-layers=", "non-bool value specified for prefer-nondist-layers"},
        {"type=tar,prefer-nondist-layers=1", "has no meaning for this type of output"},
        {"type=oci,rewrite-timestamp=1", "needs an epoch"},
        {"type=oci,source-date-epoch=now", "invalid source-date-epoch"},
        {"type=oci,compatibility-version=31", "unsupported compatibility-version 31"},
        {"type=image,compatibility-version=10,compression=zstd", "compression=zstd"},
        {"type=image,compression=estargz,oci-mediatypes=false",
         "exporter option \"compression=estargz\" conflicts with \"oci-mediatypes=false\""},
        {"type=image,oci-artifact=true,oci-mediatypes=false",
         "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\""},
        {"type=image,annotation-index.a=b,oci-mediatypes=false",
         "cannot export annotations with \"oci-mediatypes=false\""},
        {"type=image,annotation-index-descriptor.a=b,oci-mediatypes=false",
         "cannot export annotations with \"oci-mediatypes=false\""},
        {"type=oci,annotation[toaster].a=b", "parse platform 'toaster'"},
        {"type=oci,attestation-inline=", "non-bool value specified for attestation-inline"},
        {"typ=oci,dest=x", "the nearest known one is 'type'"},
        {"type=oci,annotation-layer.a=b", "unrecognized annotation type layer"},
        {"type=oci,annotation.a b=c", "is no annotation"},
        {"type=oci,name=App", "lower"},
        {"type=oci,\"name=a,,b\"", "invalid reference format"},
        {"type=oci,name=App", "failed to parse App: invalid reference format"},
        {"type=image,annotation.a b=c", "is no annotation"},
        {"type=image,annotation-index.=c", "is no annotation"},
        {"type=oci,name=a*", "invalid reference format"},
        {"type=image,dest=x", "output x is not supported by image exporter"},
        {"type=local", "needs dest"},
        {"type=local,dest=-", "needs dest"},
        {"type=local,dest=x,compression=gzip", "has no meaning for this type"},
        {"type=oci,dest=", "is empty"},
        {"type=oci,tar=false", "tar=false needs dest=<directory>"},
        {"type=docker,tar=false,dest=-", "cannot go to standard output"},
    }));
    CAPTURE(text);
    CHECK_THROWS_WITH(spec_of(text), contains(message));
    CHECK_THROWS_AS(spec_of(text), option_error);
}

TEST_CASE("an empty boolean means true where the original says so", "[spec]") {
    CHECK(spec_of("type=oci,tar=").tar);
    CHECK(spec_of("type=oci,force-compression=").force_compression);
    CHECK_FALSE(spec_of("type=oci,tar=F,dest=d").tar);
}

TEST_CASE("unpack needs the store, and the times that the store has", "[spec]") {
    auto const from = [](std::string const& more) {
        return export_spec::from(parse_attributes("type=image," + more));
    };
    CHECK_FALSE(from("name=a").unpack);
    CHECK(from("unpack=").unpack);
    CHECK(from("unpack=true,push=true,name=a").keep == true);
    CHECK_FALSE(from("unpack=false,store=false").unpack);
    CHECK_THROWS_WITH(from("unpack=true,store=false"), Catch::Matchers::Contains("store=false"));
    auto const conflict =
        Catch::Matchers::Contains(R"(exporter option "rewrite-timestamp" conflicts with "unpack")");
    CHECK_THROWS_WITH(from("unpack=true,rewrite-timestamp=true,source-date-epoch=1,name=a"), conflict);
    CHECK_THROWS_WITH(from("unpack=true,rewrite-timestamp=true,source-date-epoch=1,dangling-name-prefix=a"),
                      conflict);
    CHECK(from("unpack=true,rewrite-timestamp=true,source-date-epoch=1").unpack);
    CHECK_THROWS_WITH(from("unpack=x"), Catch::Matchers::Contains("non-bool value specified for unpack"));
    CHECK_THROWS_AS(export_spec::from(parse_attributes("type=oci,unpack=true")), option_error);
}

TEST_CASE("non-distributable layers stay so if that is wanted", "[spec]") {
    for (std::string const type : {"image", "oci", "docker"}) {
        CHECK(spec_of("type=" + type + ",prefer-nondist-layers=1").prefer_nondistributable);
        CHECK_FALSE(spec_of("type=" + type + ",prefer-nondist-layers=false").prefer_nondistributable);
    }
}

TEST_CASE("whether a compression was asked for", "[spec]") {
    CHECK(spec_of("type=oci,compression=gzip").compression_asked);
    CHECK_FALSE(spec_of("type=oci,compression-level=9").compression_asked);
}
