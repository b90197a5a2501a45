#pragma once
// All that needs libcurl: the registry folder in one include.

#include <shiplap/registry/address.hpp>
#include <shiplap/registry/authenticated.hpp>
#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/challenge.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credential_file.hpp>
#include <shiplap/registry/credential_helper.hpp>
#include <shiplap/registry/credentials.hpp>
#include <shiplap/registry/curl_channel.hpp>
#include <shiplap/registry/curl_failure.hpp>
#include <shiplap/registry/curl_transfer.hpp>
#include <shiplap/registry/curl_transport.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/token.hpp>
#include <shiplap/registry/url.hpp>
