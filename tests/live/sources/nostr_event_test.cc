#include "live/sources/nostr_event.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "live/sources/nostr_signature.h"
#include "live/sources/nostr_signer.h"

namespace fathom::live {
namespace {

using test::nostr_json;
using test::nostr_message;
using test::NostrSigner;

constexpr Time kNow = Time(std::chrono::seconds(1783175900));
const std::string kOther(64, 'a'), kRoot(64, 'b');

Post post_of(const NostrEvent& event) {
  return nostr_post(event, "https://pages.example/", kNow).value_or(Post{});
}

TEST(NostrEvent, ItsIdIsTheDigestOfWhatItSays) {
  NostrEvent event;
  event.pubkey = std::string(64, '0');
  event.created_at = 1;
  event.kind = 1;
  event.tags = {{"t", "a\"b"}};
  event.content = "line\n\ttab \\ \xC3\xA4 /";
  Digest digest(DigestKind::kSha256);
  digest.update("[0,\"" + event.pubkey + "\",1,1,[[\"t\",\"a\\\"b\"]],\"line\\n\\ttab \\\\ \xC3\xA4 /\"]");
  EXPECT_EQ(nostr_event_id(event), digest.finish());
}

TEST(NostrEvent, ANoteBecomesAPost) {
  const NostrSigner ada(1);
  const auto message = parse_nostr_message(nostr_message(
      ada.event(1, 1783175000, "Rain over #Oslo, see https://example.org/a.",
                {{"t", "oslo"}, {"l", "en", "ISO-639-1"}, {"q", kOther}, {"content-warning", "wet"}})));
  ASSERT_EQ(message.type, NostrMessage::Type::kEvent);
  const Post post = post_of(*message.event);
  EXPECT_EQ(post.key(), "nostr:" + message.event->id);
  EXPECT_EQ(post.author.id, ada.pubkey());
  EXPECT_TRUE(post.author.handle.starts_with("npub1"));
  EXPECT_EQ(post.text, "Rain over #Oslo, see https://example.org/a.");
  EXPECT_EQ(post.links, std::vector<std::string>{"https://example.org/a"});
  EXPECT_EQ(post.tags, std::vector<std::string>{"oslo"});
  EXPECT_EQ(post.lang, "en");
  EXPECT_EQ(post.quote_of, kOther);
  EXPECT_TRUE(post.sensitive);
  EXPECT_EQ(format_time(post.created_at), "2026-07-04T14:23:20Z");
  EXPECT_EQ(post.url, "https://pages.example/" + nostr_bech32("note", post.id));
}

TEST(NostrEvent, RepliesNameTheirParentInAnyOfItsForms) {
  const NostrSigner ada(1);
  const auto parent = [&](std::vector<std::vector<std::string>> tags) {
    return post_of(ada.event(1, 1, "yes", std::move(tags))).reply_to;
  };
  EXPECT_EQ(parent({}), "");
  EXPECT_EQ(parent({{"e", kRoot}, {"e", kOther}}), kOther);  // by place
  EXPECT_EQ(parent({{"e", kOther, "", "reply"}, {"e", kRoot, "", "root"}}), kOther);
  EXPECT_EQ(parent({{"e", kRoot, "wss://r.example", "root"}, {"e", kOther, "", "mention"}}), kRoot);
  EXPECT_EQ(parent({{"e", "short"}, {"e"}, {}}), "");
}

TEST(NostrEvent, IdentifiersAreWrittenAsPeopleKnowThem) {
  // The example of NIP-19.
  EXPECT_EQ(nostr_bech32("npub", "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"),
            "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg");
}

TEST(NostrMessage, ReadsAllKinds) {
  EXPECT_EQ(parse_nostr_message(R"(["EOSE","fathom"])").type, NostrMessage::Type::kEndOfStored);
  const auto closed = parse_nostr_message(R"(["CLOSED","fathom","auth-required: members only"])");
  EXPECT_EQ(closed.type, NostrMessage::Type::kClosed);
  EXPECT_EQ(closed.text, "auth-required: members only");
  EXPECT_EQ(parse_nostr_message(R"(["NOTICE","slow down"])").text, "slow down");
  EXPECT_EQ(parse_nostr_message(R"(["AUTH","challenge"])").type, NostrMessage::Type::kOther);
  EXPECT_EQ(parse_nostr_message(R"(["NOTICE",7])").text, "");
}

TEST(NostrMessage, RefusesEventsThatAreNotWhatTheySay) {
  const NostrEvent good = NostrSigner(1).event(1, 1783175000, "hello", {{"t", "x"}});
  EXPECT_NO_THROW(parse_nostr_message(nostr_message(good)));
  const auto refuses = [&](auto change) {
    NostrEvent event = good;
    change(event);
    EXPECT_THROW(parse_nostr_message(nostr_message(event)), Error);
  };
  refuses([](NostrEvent& event) { event.content += "!"; });
  refuses([](NostrEvent& event) { event.created_at += 1; });
  refuses([](NostrEvent& event) { event.tags.clear(); });
  refuses([](NostrEvent& event) { event.id[0] = event.id[0] == '0' ? '1' : '0'; });
  refuses([](NostrEvent& event) { event.id = event.id.substr(1); });
  refuses([](NostrEvent& event) { event.pubkey[3] = 'G'; });
  refuses([](NostrEvent& event) { event.sig += "00"; });
  refuses([](NostrEvent& event) {
    event.created_at = -5;
    event.id = nostr_event_id(event);
  });
  refuses([](NostrEvent& event) {
    event.created_at = INT64_MAX;
    event.id = nostr_event_id(event);
  });
}

TEST(NostrMessage, RefusesWhatIsNoMessage) {
  for (const char* text : {"", "{", "{}", "7", "[]", "[7]", R"(["EVENT"])", R"(["EVENT","s"])",
                           R"(["EVENT","s",7])", R"(["EVENT","s",{}])", "[\"NOTICE\",\"\xFF\"]"})
    EXPECT_THROW(parse_nostr_message(text), Error) << text;
  auto event = nlohmann::json::parse(nostr_json(NostrSigner(1).event(1, 5, "x")));
  for (const auto& [name, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"tags", 7}, {"tags", {7}}, {"tags", {{7}}}, {"content", nullptr}, {"kind", "one"}}) {
    auto odd = event;
    odd[name] = value;
    EXPECT_THROW(parse_nostr_message(nlohmann::json::array({"EVENT", "s", odd}).dump()), Error) << name;
  }
}

TEST(NostrPost, HostileNotesAreHeldInBounds) {
  const NostrSigner ada(1);
  EXPECT_LE(post_of(ada.event(1, 1, std::string(200000, 'x'))).text.size(), kMaxTextBytes);
  EXPECT_FALSE(nostr_post(ada.event(1, 1, " \n "), "https://p.example/", kNow).has_value());
  std::string links;
  for (int i = 0; i < 1000; ++i) links += "https://example.org/" + std::to_string(i) + " ";
  EXPECT_LE(post_of(ada.event(1, 1, links)).links.size(), 64u);
  EXPECT_TRUE(post_of(ada.event(1, 1, "http http:// httpx https:/a")).links.size() <= 1);
}

// --- signatures: vectors 0, 1, 5 and 6 of BIP-340

TEST(NostrSignatures, GoodOnesAreTaken) {
  const NostrSignatures signatures;
  EXPECT_TRUE(signatures.verify("f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
                                std::string(64, '0'),
                                "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
                                "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"));
  EXPECT_TRUE(signatures.verify("dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
                                "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
                                "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de3341"
                                "8906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a"));
  for (int i = 1; i <= 20; ++i) {  // keys and nonces of either sign
    const NostrSigner signer(i);
    const auto event = signer.event(1, i, "note");
    EXPECT_TRUE(signatures.verify(event.pubkey, event.id, event.sig)) << i;
  }
}

TEST(NostrSignatures, OthersAreNot) {
  const NostrSignatures signatures;
  const auto good = NostrSigner(3).event(1, 1, "note");
  const auto other = NostrSigner(4).event(1, 1, "note");
  EXPECT_FALSE(signatures.verify(other.pubkey, good.id, good.sig));
  EXPECT_FALSE(signatures.verify(good.pubkey, other.id, good.sig));
  for (const size_t at : {0ul, 63ul, 64ul, 127ul}) {
    std::string damaged = good.sig;
    damaged[at] = damaged[at] == '7' ? '8' : '7';
    EXPECT_FALSE(signatures.verify(good.pubkey, good.id, damaged)) << at;
  }
  const std::string order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
  EXPECT_FALSE(signatures.verify(good.pubkey, good.id, good.sig.substr(0, 64) + order));
  EXPECT_FALSE(signatures.verify("eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34", good.id,
                                 good.sig));
  EXPECT_FALSE(signatures.verify(std::string(64, 'f'), good.id, good.sig));
  EXPECT_FALSE(signatures.verify(good.pubkey, good.id, std::string(128, '0')));
  EXPECT_FALSE(signatures.verify(good.pubkey, good.id, ""));
  EXPECT_FALSE(signatures.verify("", "", ""));
}

}  // namespace
}  // namespace fathom::live
