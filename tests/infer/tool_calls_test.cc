// Tool calls: formats found in templates, the parser under every way of cutting a text, grammars under random walks.
#include "infer/tool_calls.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "infer/grammar.h"

namespace fathom::infer {
namespace {

using Json = nlohmann::ordered_json;
using Kind = ToolEvent::Kind;
using Style = ToolFormat::Style;

const std::string kTemplates = FATHOM_SOURCE_DIR "/tests/model/testdata/templates/";

std::string read(const std::string& name) {
  std::ifstream in(kTemplates + name + ".jinja");
  EXPECT_TRUE(in) << name;
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

ToolFormat format(Style style) {
  const char* name = style == Style::kHermes ? "qwen_tools" : style == Style::kLlama3 ? "llama3" : "mistral";
  return ToolFormat::detect(read(name));
}

const Json kTools = Json::parse(R"([
  {"type": "function", "function": {"name": "search", "description": "Finds posts.", "parameters": {
    "type": "object", "properties": {"query": {"type": "string"}, "n": {"type": "integer", "minimum": 1, "maximum": 50}},
    "required": ["query"], "additionalProperties": false}, "strict": true}},
  {"type": "function", "function": {"name": "now", "description": "The time."}}])");

/// What a reader makes of the events.
struct Reading {
  std::string content;
  std::vector<std::string> calls;  // name(arguments), with ... where they have no end
  bool operator==(const Reading&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Reading& r) {
  out << "content [" << r.content << "]";
  for (const auto& c : r.calls) out << " call " << c;
  return out;
}

class Reader {
 public:
  void take(const std::vector<ToolEvent>& events) {
    for (const auto& e : events) {
      switch (e.kind) {
        case Kind::kContent:
          EXPECT_FALSE(e.text.empty());
          out_.content += e.text;
          break;
        case Kind::kCallBegin:
          EXPECT_EQ(e.index, out_.calls.size());
          EXPECT_FALSE(e.id.empty());
          ids_.push_back(e.id);
          out_.calls.push_back(e.name + "(");
          open_ = true;
          break;
        case Kind::kArguments:
          EXPECT_TRUE(open_ && e.index + 1 == out_.calls.size());
          if (open_) out_.calls.back() += e.text;
          break;
        case Kind::kCallEnd:
          EXPECT_TRUE(open_ && e.index + 1 == out_.calls.size());
          if (open_) out_.calls.back() += ")";
          open_ = false;
          break;
      }
    }
  }
  Reading finish() {
    if (open_) out_.calls.back() += "...";
    for (size_t i = 0; i < ids_.size(); ++i)
      for (size_t j = 0; j < i; ++j) EXPECT_NE(ids_[i], ids_[j]);
    return out_;
  }

 private:
  Reading out_;
  std::vector<std::string> ids_;
  bool open_ = false;
};

Reading parse(Style style, const std::vector<std::string_view>& pieces) {
  static const ToolFormat formats[] = {format(Style::kHermes), format(Style::kLlama3),
                                       format(Style::kMistral)};
  ToolCallParser parser(formats[static_cast<size_t>(style)], {"search", "now"}, 7);
  Reader reader;
  for (const auto piece : pieces) reader.take(parser.push(piece));
  reader.take(parser.finish());
  const auto out = reader.finish();
  EXPECT_EQ(parser.calls(), out.calls.size());
  return out;
}

/// Whole, byte by byte, and cut in two and in three: always the same.
Reading parse_everyhow(Style style, std::string_view text) {
  const Reading whole = parse(style, {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  EXPECT_EQ(parse(style, bytes), whole) << text;
  for (size_t i = 1; i < text.size(); ++i) {
    EXPECT_EQ(parse(style, {text.substr(0, i), text.substr(i)}), whole) << text << " cut at " << i;
    const size_t j = i + (text.size() - i) / 2;
    EXPECT_EQ(parse(style, {text.substr(0, i), text.substr(i, j - i), text.substr(j)}), whole);
  }
  return whole;
}

TEST(ToolFormatTest, IsFoundInTheTemplate) {
  EXPECT_EQ(ToolFormat::detect(read("qwen_tools")).style(), Style::kHermes);
  EXPECT_EQ(ToolFormat::detect(read("llama3")).style(), Style::kLlama3);
  EXPECT_EQ(ToolFormat::detect(read("mistral")).style(), Style::kMistral);
  for (const char* name : {"qwen_tools", "llama3", "mistral"})
    EXPECT_TRUE(ToolFormat::detect(read(name)).template_takes_tools()) << name;
  for (const char* name : {"chatml", "gemma", "llama2", "phi3", "zephyr", "macros"}) {
    const auto found = ToolFormat::detect(read(name));
    EXPECT_EQ(found.style(), Style::kHermes) << name;
    EXPECT_FALSE(found.template_takes_tools()) << name;
    EXPECT_FALSE(found.needs_special_tokens()) << name;
    const auto system = found.system_message(kTools);
    ASSERT_TRUE(system.has_value());
    const auto& text = (*system)["content"].get_ref<const std::string&>();
    EXPECT_EQ((*system)["role"], "system");
    EXPECT_NE(text.find(R"("name":"search")"), std::string::npos);
    EXPECT_NE(text.find("<tool_call>"), std::string::npos);
  }
  EXPECT_FALSE(ToolFormat::detect("").template_takes_tools());
  EXPECT_FALSE(format(Style::kHermes).system_message(kTools).has_value());
  EXPECT_TRUE(format(Style::kMistral).needs_special_tokens());
}

TEST(ToolCallParserTest, HermesUnderEveryCut) {
  const auto p = [](std::string_view text) { return parse_everyhow(Style::kHermes, text); };
  const std::string call = R"({"name": "search", "arguments": {"query": "a \"b\" }", "n": 3}})";
  const std::string args = R"(search({"query": "a \"b\" }", "n": 3}))";
  EXPECT_EQ(p(""), (Reading{"", {}}));
  EXPECT_EQ(p("Hello.\n"), (Reading{"Hello.\n", {}}));
  EXPECT_EQ(p("<tool_call>\n" + call + "\n</tool_call>"), (Reading{"", {args}}));
  EXPECT_EQ(p("I look.\n\n<tool_call>" + call + "</tool_call>\n"), (Reading{"I look.", {args}}));
  EXPECT_EQ(p("<tool_call>\n" + call +
              "\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"),
            (Reading{"", {args, "now({})"}}));
  // Other members, the arguments first or as text, none at all, the closing tag forgotten.
  EXPECT_EQ(
      p(R"(<tool_call>{"type":"function","x":[1,-2.5e3,{"y":null}],"arguments":{"a":1},"name":"now"}</tool_call>)"),
      (Reading{"", {"now({\"a\":1})"}}));
  EXPECT_EQ(p(R"(<tool_call>{"name":"now","arguments":"{\"a\": \"\u00e9\"}"}</tool_call>)"),
            (Reading{"", {"now({\"a\": \"\xc3\xa9\"})"}}));
  EXPECT_EQ(p(R"(<tool_call>{"n\u0061me":"now"}</tool_call>)"), (Reading{"", {"now({})"}}));
  EXPECT_EQ(p("<tool_call>" + call + "\nDone."), (Reading{"\nDone.", {args}}));
  EXPECT_EQ(p("<tool_call>" + call + "</tool_call> and more"), (Reading{" and more", {args}}));
}

TEST(ToolCallParserTest, WhatIsNoCallIsContentToTheLastByte) {
  const std::vector<std::string> texts = {
      "<tool",
      "a <tool_call",
      "<tool_call>",
      "<tool_call> hello",
      "<tool_call>{\"name\": \"delete_all\", \"arguments\": {}}</tool_call>",
      "<tool_call>{\"name\": 5}</tool_call>",
      "<tool_call>{\"arguments\": {}}</tool_call>",
      "<tool_call>{}</tool_call>",
      "<tool_call>{\"name\": \"now\", \"name\": \"now\"}</tool_call>",
      "<tool_call>{\"name\": \"now\" \"arguments\": {}}</tool_call>",
      "<tool_call>{\"name\": \"now\", \"arguments\": 5}",
      "<tool_call>{\"name\": \"now\", \"arguments\": \"no json\"}",
      "<tool_call>{\"name\": \"now\", ",
      "<tool_call>[1]</tool_call>",
      "<<tool_call <tool_call>x<tool_call>",
      "<tool_call>{\"x\": \"<tool_call>{\\\"",
      "  \n ",
      "a\n\n b \t",
      "\xff<tool_call>\xff{",
  };
  for (const auto& text : texts) EXPECT_EQ(parse_everyhow(Style::kHermes, text), (Reading{text, {}}));
  for (const std::string text :
       {"{\"name\": \"Ann\", \"age\": 3}", " {\"a\": 1}", "{", "[{\"name\": \"now\"}]", "<|python",
        "hi {\"name\": \"now\", \"parameters\": {}}"})
    EXPECT_EQ(parse_everyhow(Style::kLlama3, text), (Reading{text, {}}));
  for (const std::string text :
       {"[TOOL_CALLS] none", "[TOOL_CALL", "[1] is a source", "[", "[ {\"name\": \"x\"}]",
        "[TOOL_CALLS] [{\"name\": \"x\", \"arguments\": {}}]"})
    EXPECT_EQ(parse_everyhow(Style::kMistral, text), (Reading{text, {}}));
}

TEST(ToolCallParserTest, ACallBehindABrokenOneIsFound) {
  const std::string good = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
  for (const std::string broken :
       {"<tool_call>", "<tool_call>{\"name\": ", "<tool_call>{\"x\": 1} ", "<<tool_call>{}"})
    EXPECT_EQ(parse_everyhow(Style::kHermes, broken + good).calls, (std::vector<std::string>{"now({})"}))
        << broken;
}

TEST(ToolCallParserTest, WhatIsCutShortKeepsItsBeginning) {
  EXPECT_EQ(parse_everyhow(Style::kHermes, R"(<tool_call>{"name": "now", "arguments": {"a": [1, "x)"),
            (Reading{"", {"now({\"a\": [1, \"x..."}}));
  EXPECT_EQ(parse_everyhow(Style::kHermes, R"(<tool_call>{"name": "now", "arguments": {"a" 1}} y)"),
            (Reading{"1}} y", {"now({\"a\" ..."}}));
}

TEST(ToolCallParserTest, LlamaUnderEveryCut) {
  const auto p = [](std::string_view text) { return parse_everyhow(Style::kLlama3, text); };
  const std::string call = R"({"name": "search", "parameters": {"query": "x"}})";
  const std::string args = R"(search({"query": "x"}))";
  EXPECT_EQ(p(call), (Reading{"", {args}}));
  EXPECT_EQ(p("\n<|python_tag|>" + call + "\n"), (Reading{"", {args}}));
  EXPECT_EQ(p(call + "; " + call), (Reading{"", {args, args}}));
  EXPECT_EQ(p(call + "\n" + call), (Reading{"", {args, args}}));
  EXPECT_EQ(p(call + " That was it."), (Reading{" That was it.", {args}}));
  EXPECT_EQ(p("<|python_tag|>print(1)"), (Reading{"<|python_tag|>print(1)", {}}));
}

TEST(ToolCallParserTest, MistralUnderEveryCut) {
  const auto p = [](std::string_view text) { return parse_everyhow(Style::kMistral, text); };
  const std::string call = R"({"name": "search", "arguments": {"query": "]x,"}, "id": "abcDEF123"})";
  const std::string args = R"(search({"query": "]x,"}))";
  EXPECT_EQ(p("[TOOL_CALLS] [" + call + "]"), (Reading{"", {args}}));
  EXPECT_EQ(p("Well. [TOOL_CALLS][" + call + ", {\"name\":\"now\",\"arguments\":{}}] "),
            (Reading{"Well.", {args, "now({})"}}));
  EXPECT_EQ(p(" [ " + call + "]"),
            (Reading{"", {args}}));  // the marker was a control token that was not kept
  ToolCallParser parser(format(Style::kMistral), {}, 1);
  const auto events = parser.push(
      "[TOOL_CALLS] [{\"id\": \"abcDEF123\", \"name\": \"f\", \"arguments\": {}}, "
      "{\"name\": \"g\", \"arguments\": {}}]");
  ASSERT_GE(events.size(), 6u);
  EXPECT_EQ(events[0].id, "abcDEF123");
  EXPECT_EQ(events[3].id.size(), 9u);
}

TEST(ToolCallParserTest, ArgumentsStreamAsTheyCome) {
  ToolCallParser parser(format(Style::kHermes), {"search"}, 1);
  EXPECT_TRUE(parser.push("<tool_call>\n{\"name\": \"search\", \"arguments\": ").empty());
  const auto begin = parser.push("{\"query\": ");
  ASSERT_EQ(begin.size(), 2u);
  EXPECT_EQ(begin[0].kind, Kind::kCallBegin);
  EXPECT_EQ(begin[1].text, "{\"query\": ");
  const auto next = parser.push("\"x");
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].text, "\"x");
}

TEST(ToolCallParserTest, ContentIsNotHeldBackForLong) {
  ToolCallParser parser(format(Style::kHermes), {"search"}, 1);
  const auto first = parser.push("Hello <b> ");
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].text, "Hello <b>");
  const auto second = parser.push("world <tool_");
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].text, " world");
  const auto third = parser.push("box");
  ASSERT_EQ(third.size(), 1u);
  EXPECT_EQ(third[0].text, " <tool_box");
}

TEST(ToolCallParserTest, HostileTextIsQuickAndLosesNothing) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "<tool_call>{\"x\": \"";
  EXPECT_EQ(parse(Style::kHermes, {text}), (Reading{text, {}}));
  const std::string deep = "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": " + std::string(5000, '[');
  const auto out = parse(Style::kHermes, {deep});
  ASSERT_EQ(out.calls.size(), 1u);
  EXPECT_FALSE(out.content.empty());  // deeper than any JSON that is taken
}

// Grammars ------------------------------------------------------------------------------------------

const GrammarVocabulary& bytes() {
  static const std::vector<std::string> pieces = [] {
    std::vector<std::string> out;
    for (int i = 0; i < 256; ++i) out.emplace_back(1, static_cast<char>(i));
    for (const char* s :
         {"<tool_call>", "</tool_call>", "{\"name\": \"", "[TOOL_CALLS]", "search", "\"}", "}}", " {"})
      out.emplace_back(s);
    out.emplace_back();
    return out;
  }();
  static const GrammarVocabulary out(std::vector<std::string_view>(pieces.begin(), pieces.end()),
                                     {static_cast<int32_t>(pieces.size() - 1)});
  return out;
}

bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar, bytes());
  for (const char c : text) {
    const auto token = static_cast<int32_t>(static_cast<uint8_t>(c));
    if (!matcher.allows(token)) return false;
    matcher.accept(token);
  }
  return matcher.may_end();
}

TEST(ToolGrammarTest, TakesCallsAndNothingElse) {
  const auto hermes = format(Style::kHermes);
  const std::string search = R"({"name": "search", "arguments": {"query": "x", "n": 50}})";
  const std::string now = R"({"name": "now", "arguments": {}})";
  const auto block = [](const std::string& call) { return "<tool_call>\n" + call + "\n</tool_call>"; };
  const ToolChoice any{ToolChoice::Mode::kAuto, ""};
  const ToolChoice must{ToolChoice::Mode::kRequired, ""};
  const ToolChoice named{ToolChoice::Mode::kNamed, "now"};
  EXPECT_TRUE(accepts(hermes.grammar(kTools, must, false), block(search)));
  EXPECT_FALSE(accepts(hermes.grammar(kTools, must, false), block(search) + "\n" + block(now)));
  EXPECT_TRUE(accepts(hermes.grammar(kTools, must, true), block(search) + "\n" + block(now)));
  EXPECT_FALSE(accepts(hermes.grammar(kTools, must, true), "Hello"));
  EXPECT_FALSE(accepts(hermes.grammar(kTools, must, true), ""));
  EXPECT_TRUE(accepts(hermes.grammar(kTools, named, true), block(now)));
  EXPECT_FALSE(accepts(hermes.grammar(kTools, named, true), block(search)));
  const auto free = hermes.grammar(kTools, any, true);
  EXPECT_TRUE(accepts(free, ""));
  EXPECT_TRUE(accepts(free, "Hello <tool_call and <tool_<tool_ \xff"));
  EXPECT_TRUE(accepts(free, "Well.\n" + block(search) + block(now)));
  EXPECT_FALSE(accepts(free, "<tool_call>"));
  EXPECT_FALSE(accepts(free, "<<tool_call>\nno"));
  EXPECT_FALSE(accepts(free, block(R"({"name": "search", "arguments": {"query": "x", "n": 51}})")));
  EXPECT_FALSE(accepts(free, block(R"({"name": "other", "arguments": {}})")));

  const auto llama = format(Style::kLlama3);
  const std::string call = R"({"name": "search", "parameters": {"query": "x"}})";
  EXPECT_TRUE(accepts(llama.grammar(kTools, must, false), call));
  EXPECT_TRUE(accepts(llama.grammar(kTools, any, true), "\n" + call + "; " + call));
  EXPECT_FALSE(accepts(llama.grammar(kTools, any, false), call + "; " + call));
  EXPECT_TRUE(accepts(llama.grammar(kTools, any, true), "<|python_tag|>" + call));
  EXPECT_FALSE(accepts(llama.grammar(kTools, any, true), "<|python_tag|>print(1)"));
  EXPECT_FALSE(accepts(llama.grammar(kTools, any, true), R"({"name": "other)"));
  for (const char* text :
       {"", "{", "Hi", " {\"nam", "{\"x\": 1}", "a {\"name\": \"other", "<|pyth", "<b>", "\n\n{ x"})
    EXPECT_TRUE(accepts(llama.grammar(kTools, any, true), text)) << text;

  const auto mistral = format(Style::kMistral);
  EXPECT_TRUE(accepts(mistral.grammar(kTools, must, true), "[TOOL_CALLS] [" + search + ", " + now + "]"));
  EXPECT_TRUE(accepts(mistral.grammar(kTools, any, false),
                      R"(So: [TOOL_CALLS][{"name": "now", "arguments": {}, "id": "aZ3456789"}])"));
  EXPECT_FALSE(accepts(mistral.grammar(kTools, any, false), "[TOOL_CALLS] [" + search + ", " + now + "]"));
}

/// Writes what the grammar allows, at random, with a wish to come to an end.
std::string walk(const std::shared_ptr<const Grammar>& grammar, uint64_t seed, bool& ended) {
  Random random(seed);
  GrammarMatcher matcher(grammar, bytes());
  const auto end = bytes().ends()[0];
  std::string text;
  std::vector<float> logits(static_cast<size_t>(end) + 1);
  constexpr std::string_view kWish = "<tool_calls>[TOOL_CALLS]{\"name\": \"search\", \"now\"}]";
  for (size_t steps = 0; steps < 700; ++steps) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    matcher.mask(logits);
    std::vector<int32_t> allowed;
    for (int32_t t = 0; t <= end; ++t) {
      EXPECT_EQ(std::isfinite(logits[static_cast<size_t>(t)]), matcher.allows(t));
      if (std::isfinite(logits[static_cast<size_t>(t)])) allowed.push_back(t);
    }
    if (allowed.empty()) break;
    int32_t token = allowed[random.below(allowed.size())];
    // Else a free string would hardly ever end.
    for (int tries = 0; tries < 3; ++tries)
      if (const auto c = static_cast<uint8_t>(kWish[random.below(kWish.size())]);
          matcher.allows(c) && random.chance(0.5))
        token = c;
    if (matcher.may_end() && random.chance(0.02)) token = end;
    if (token != end) text += token < 256 ? std::string(1, static_cast<char>(token)) : std::string();
    if (token >= 256 && token != end) {
      const char* kWords[] = {
          "<tool_call>", "</tool_call>", "{\"name\": \"", "[TOOL_CALLS]", "search", "\"}", "}}", " {"};
      text += kWords[token - 256];
    }
    matcher.accept(token);
    if (token == end) break;
  }
  ended = matcher.must_end();
  return text;
}

TEST(ToolGrammarTest, WhateverItLetsThroughTheParserReadsAsCallsOfTheTools) {
  const ToolChoice choices[] = {
      {ToolChoice::Mode::kAuto, ""}, {ToolChoice::Mode::kRequired, ""}, {ToolChoice::Mode::kNamed, "search"}};
  size_t complete = 0;
  for (const Style style : {Style::kHermes, Style::kLlama3, Style::kMistral}) {
    for (const auto& choice : choices) {
      for (const bool parallel : {false, true}) {
        const auto grammar = format(style).grammar(kTools, choice, parallel);
        for (uint64_t seed = 0; seed < 12; ++seed) {
          bool ended = false;
          const std::string text = walk(grammar, seed, ended);
          const Reading out = parse(style, {text});
          const bool required = choice.mode != ToolChoice::Mode::kAuto;
          if (ended && required) {
            EXPECT_FALSE(out.calls.empty()) << text;
            EXPECT_EQ(out.content, "") << text;
          }
          if (!parallel && ended) {
            EXPECT_LE(out.calls.size(), 1u) << text;
          }
          if (ended && choice.mode == ToolChoice::Mode::kNamed) {
            EXPECT_EQ(out.calls.size(), 1u);
          }
          complete += ended && !out.calls.empty();
          for (const auto& call : out.calls) {
            if (!ended) continue;
            ASSERT_TRUE(call.ends_with(")")) << text;
            const size_t open = call.find('(');
            const Json arguments = Json::parse(call.substr(open + 1, call.size() - open - 2), nullptr, false);
            ASSERT_TRUE(arguments.is_object()) << call;
            if (call.starts_with("search")) {
              EXPECT_TRUE(arguments["query"].is_string());
              if (arguments.contains("n")) {
                EXPECT_GE(arguments["n"], 1);
                EXPECT_LE(arguments["n"], 50);
              }
            } else {
              EXPECT_TRUE(arguments.empty());
            }
          }
        }
      }
    }
  }
  EXPECT_GT(complete, 60u);
}

TEST(ToolGrammarTest, BadToolsAreNamed) {
  const auto refused = [](const char* tools, const ToolChoice& choice = {}) {
    try {
      (void)ToolFormat::detect("").grammar(Json::parse(tools), choice, true);
    } catch (const Error& e) {
      return std::string(to_string(e.code())) + ": " + e.what();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refused(R"([{"type": "function", "function": {"name": "f"}}])"), "accepted");
  EXPECT_EQ(refused(R"([{"type": "function", "name": "f", "parameters": {}}])"), "accepted");
  EXPECT_TRUE(refused("{}").starts_with("invalid_argument"));
  EXPECT_TRUE(refused("[]").starts_with("invalid_argument"));
  EXPECT_TRUE(refused(R"([{"type": "web_search"}])").starts_with("invalid_argument: tools at #/0"));
  EXPECT_TRUE(
      refused(R"([{"type": "function", "function": {}}])").starts_with("invalid_argument: tools at #/0"));
  EXPECT_TRUE(refused(R"([{"type":"function","name":"f"},{"type":"function","name":"f"}])")
                  .starts_with("invalid_argument: tools at #/1"));
  EXPECT_TRUE(refused(R"([{"type":"function","name":"f"}])", {ToolChoice::Mode::kNamed, "g"})
                  .find("g, which is not") != std::string::npos);
  EXPECT_NE(
      refused(
          R"([{"type":"function","name":"f","parameters":{"type":"object","properties":{"a":{"type":"strin"}}}}])")
          .find("#/0/parameters/properties/a/type"),
      std::string::npos);
  EXPECT_TRUE(
      refused(R"([{"type":"function","name":"f","parameters":{"not":{}}}])").starts_with("unsupported"));
}

TEST(ToolFormatTest, ExcessiveArgumentsStayText) {
  const auto arguments_after = [](const std::string& arguments) {
    Json call = {{"id", "c1"}, {"type", "function"}, {"function", {{"name", "f"}}}};
    call["function"]["arguments"] = arguments;
    Json message = {{"role", "assistant"}, {"content", ""}};
    message["tool_calls"] = Json::array({call});
    const Json messages = format(Style::kHermes).messages(Json::array({message}), nullptr);
    return messages[0]["tool_calls"][0]["function"]["arguments"];
  };
  const auto nested = [](size_t depth) {
    return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(arguments_after(nested(60)).is_object());
  EXPECT_TRUE(arguments_after(R"({"a\"[[": "{{[[\\"})").is_object());
  EXPECT_EQ(arguments_after(nested(300'000)), nested(300'000));
  std::string many = "{\"a\":0";
  for (int i = 0; i < 100'000; ++i) many += ",\"" + std::to_string(i) + "\":0";
  many += "}";
  EXPECT_EQ(arguments_after(many), many);
  EXPECT_EQ(arguments_after("no JSON"), "no JSON");
}

TEST(ToolFormatTest, ConversationsFitTheirTemplates) {
  const Json talk = Json::parse(R"([
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Find cafes"},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
      "function": {"name": "search", "arguments": "{\"query\": \"cafe\"}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "two"}, {"role": "user", "content": "Thanks"}])");
  const auto plain = ToolFormat::detect(read("chatml")).messages(talk, &kTools);
  ASSERT_EQ(plain.size(), 4u);
  EXPECT_TRUE(plain[0]["content"].get<std::string>().starts_with("Be brief.\n\nYou can call functions."));
  EXPECT_EQ(plain[2]["content"],
            "<tool_call>\n{\"name\":\"search\",\"arguments\":{\"query\":\"cafe\"}}\n</tool_call>");
  EXPECT_FALSE(plain[2].contains("tool_calls"));
  EXPECT_EQ(plain[3]["role"], "user");
  EXPECT_EQ(plain[3]["content"], "<tool_response>\ntwo\n</tool_response>\nThanks");
  const auto qwen = format(Style::kHermes).messages(talk, &kTools);
  ASSERT_EQ(qwen.size(), 5u);
  EXPECT_EQ(qwen[2]["tool_calls"][0]["function"]["arguments"]["query"], "cafe");
  EXPECT_EQ(qwen[2]["content"], "");
  const auto mistral = format(Style::kMistral).messages(talk, &kTools);
  EXPECT_EQ(mistral[2]["tool_calls"][0]["id"].get<std::string>().size(), 9u);
  EXPECT_EQ(mistral[2]["tool_calls"][0]["id"], mistral[3]["tool_call_id"]);
  EXPECT_THROW((void)format(Style::kHermes).messages(Json::parse("[1]"), nullptr), Error);
  EXPECT_THROW((void)format(Style::kHermes)
                   .messages(Json::parse(R"([{"role":"assistant","tool_calls":[1]}])"), nullptr),
               Error);
  // A template that refuses system messages gets the tools with the first question.
  const auto gemma = ToolFormat::detect("{{ raise_exception('System role not supported') }}");
  const auto asked = gemma.messages(Json::parse(R"([{"role": "user", "content": "Hi"}])"), &kTools);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_TRUE(asked[0]["content"].get<std::string>().ends_with("\n\nHi"));
}

}  // namespace
}  // namespace fathom::infer
