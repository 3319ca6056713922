#include "cli/document_options.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>

namespace fathom::cli {

void add_document_options(CLI::App& command, train::DocumentOptions& options) {
  const std::map<std::string, train::InputFormat> formats{{"auto", train::InputFormat::kByName},
                                                          {"ndjson", train::InputFormat::kNdjson},
                                                          {"text", train::InputFormat::kText}};
  command
      .add_option(
          "input", options.inputs,
          "Files or folders: NDJSON (.jsonl, .ndjson, .json) or text, also as .zst; '-': standard input")
      ->required()
      ->type_name("INPUT");
  command.add_option("--format", options.format, "Of the inputs: auto (by their names), ndjson or text")
      ->transform(CLI::CheckedTransformer(formats))
      ->type_name("FORMAT");
  command.add_flag("--lines", options.lines, "Text: every line is a document, not every file");
  command.add_option("--field", options.field, "NDJSON: the field that holds the text")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_flag("--chat", options.dialogues,
                   "NDJSON: read dialogues ('messages' of the OpenAI form, or a prompt with its answer)");
  command.add_option("--prompt-field", options.prompt_field, "With --chat: the field of a prompt")
      ->capture_default_str()
      ->type_name("NAME");
  command
      .add_option("--answer-field", options.answer_field,
                  "With --chat: the field of its answer; of a list the first")
      ->capture_default_str()
      ->type_name("NAME");
}

void tell_problems(const std::vector<std::string>& problems, uint64_t refused) {
  for (const std::string& problem : problems) std::fprintf(stderr, "%s\n", problem.c_str());
  if (refused > problems.size())
    std::fprintf(stderr, "%s\n",
                 fmt::format("and {} more that could not be used", refused - problems.size()).c_str());
}

}  // namespace fathom::cli
