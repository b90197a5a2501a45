#include <shiplap/registry/address.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("addresses inside are told from those of the internet", "[registry]") {
    auto const [text, expected] = GENERATE(table<std::string, bool>({
        {"8.8.8.8", true},
        {"1.1.1.1", true},
        {"9.255.255.255", true},
        {"11.0.0.0", true},
        {"100.63.255.255", true},
        {"100.128.0.0", true},
        {"126.255.255.255", true},
        {"169.253.255.255", true},
        {"172.15.255.255", true},
        {"172.32.0.0", true},
        {"192.167.255.255", true},
        {"198.17.255.255", true},
        {"223.255.255.255", true},
        {"0.0.0.0", false},
        {"0.1.2.3", false},
        {"10.0.0.0", false},
        {"10.255.255.255", false},
        {"100.64.0.0", false},
        {"100.100.100.200", false},
        {"100.127.255.255", false},
        {"127.0.0.1", false},
        {"127.255.255.255", false},
        {"168.63.129.16", false},
        {"169.254.169.254", false},
        {"172.16.0.0", false},
        {"172.31.255.255", false},
        {"192.0.0.170", false},
        {"192.0.2.1", false},
        {"192.88.99.1", false},
        {"192.168.1.1", false},
        {"198.19.255.255", false},
        {"198.51.100.1", false},
        {"203.0.113.1", false},
        {"224.0.0.1", false},
        {"240.0.0.1", false},
        {"255.255.255.255", false},
        {"2606:4700:4700::1111", true},
        {"2001:4860:4860::8888", true},
        {"2a00::1", true},
        {"::", false},
        {"::1", false},
        {"fc00::1", false},
        {"fd00:ec2::254", false},
        {"fe80::1", false},
        {"fec0::1", false},
        {"ff02::1", false},
        {"2001::1", false},     // Teredo
        {"2001:db8::1", false}, // documentation
        {"3fff::1", false},
        {"3ffe::1", false},
        {"100::1", false},             // discard
        {"64:ff9b:1::808:808", false}, // NAT64 of a network's own
        {"::ffff:8.8.8.8", true},
        {"::ffff:127.0.0.1", false},
        {"::ffff:169.254.169.254", false},
        {"::8.8.8.8", true},
        {"::10.0.0.1", false},
        {"64:ff9b::8.8.8.8", true},
        {"64:ff9b::192.168.1.1", false},
        {"64:ff9b::a9fe:a9fe", false},
        {"2002:808:808::1", true},
        {"2002:7f00:1::1", false},
        {"2002:a9fe:a9fe::", false},
        {"::ffff:0:10.0.0.1", false}, // stateless translation
    }));
    CAPTURE(text);
    auto const address = ip_address::parse(text);
    REQUIRE(address);
    CHECK(address->is_public() == expected);
}

TEST_CASE("addresses come from sockets and literals", "[registry]") {
    ::sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(0x0a000001);
    CHECK(ip_address::of(reinterpret_cast<::sockaddr const&>(four)) == ip_address::parse("10.0.0.1"));
    ::sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    CHECK(ip_address::of(reinterpret_cast<::sockaddr const&>(six)) == ip_address::parse("::1"));
    ::sockaddr other{};
    other.sa_family = AF_UNIX;
    CHECK_FALSE(ip_address::of(other));
    CHECK(ip_address::parse("::ffff:10.0.0.1") == ip_address::parse("10.0.0.1"));
    CHECK(ip_address::parse("::ffff:10.0.0.1")->text() == "10.0.0.1");
    CHECK(ip_address::parse("fd00:ec2:0::254")->text() == "fd00:ec2::254");
    for (char const* name : {"", "r.io", "[::1]", "1.2.3", "fe80::1%eth0"})
        CHECK_FALSE(ip_address::parse(name));
}
