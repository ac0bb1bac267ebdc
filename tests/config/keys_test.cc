#include "config/keys.h"

#include "text.h"

namespace gpuward::config {
namespace {

constexpr std::string_view kDesignSample = R"([service.xray]
command   = ["python", "gradio_app.py", "--server-port", "{port}", "--server-name", "127.0.0.1"]
directory = "/root/build"
venv      = "/opt/miniconda3/envs/torch27"   # conda or venv, without activation
protocol  = "gradio"
listen    = "0.0.0.0:7860"
ready     = { http = "/config", within = "120s" }
gpu       = { count = 1, memory = "auto" }
)";

TEST(Keys, TheSampleNamesWhatIsNotSupportedYetAndNothingElse) {
  const Parsed parsed = parse_text(kDesignSample);
  EXPECT_EQ(
      heads(parsed.problems),
      (Lines{"5:13: 'protocol' 'gradio' is not supported yet, expected \"http\" or \"openai\"",
             "8:1: 'gpu' is not supported yet: it comes with the scheduler"}));
  EXPECT_TRUE(parsed.services.empty());
  ASSERT_EQ(parsed.broken.size(), 1U);
  EXPECT_EQ(parsed.broken[0].directory, "/root/build");
}

TEST(Keys, TheSampleWithoutTheseParsesClean) {
  std::string text;
  for (const auto line : split_lines(kDesignSample))
    if (!line.starts_with("protocol") && !line.starts_with("listen") && !line.starts_with("gpu"))
      text += std::string(line) + "\n";
  const Parsed parsed = parse_text(text);
  EXPECT_EQ(heads(parsed.problems), Lines{});
  ASSERT_EQ(parsed.services.size(), 1U);
  ServiceModel want;
  want.name = "xray";
  want.command = {"python", "gradio_app.py", "--server-port",
                  "{port}", "--server-name", "127.0.0.1"};
  want.directory = "/root/build";
  want.venv = "/opt/miniconda3/envs/torch27";
  want.ready = {ReadyKind::http, "", "/config", std::chrono::seconds(120)};
  EXPECT_EQ(parsed.services[0], want);
}

TEST(Keys, UnknownOnesComeWithTheNearestKnown) {
  EXPECT_EQ(problems_of("comand = 1\nenvfile = 1\nBackoff = 1\nautostrat = true\n"),
            (Lines{"3:1: unknown key 'comand'; did you mean 'command'?",
                   "4:1: unknown key 'envfile'; did you mean 'env_file'?",
                   "5:1: unknown key 'Backoff'; did you mean 'backoff'?",
                   "6:1: unknown key 'autostrat'; did you mean 'autostart'?"}));
}

TEST(Keys, FarFromAllTheSupportedOnesAreListed) {
  EXPECT_EQ(
      problems_of("zebra = 1\n"),
      Lines{
          "3:1: unknown key 'zebra', expected one of command, directory, env, env_file, "
          "venv, ready, live, canary, stop, restart, backoff, log, user, groups, umask, limits, "
          "caps, no_new_privs, oom_score_adj, nice, cpu_weight, memory_max, "
          "private_tmp, containment, on_anchor_death, pid_file, release, heal, heal_budget, "
          "hooks, autostart, after, requires, protocol, listen, client, idle_holder, reap, queue, "
          "on_client_gone"});
  EXPECT_EQ(problems_of("stop = { zebra = 1 }\n"),
            Lines{"3:10: unknown key 'stop.zebra', expected one of grace, drain"});
}

TEST(Keys, NestedOnesAreKnownByTheirFullName) {
  EXPECT_EQ(problems_of("ready = { htpp = \"/\" }\nstop = { grce = \"1s\" }\ngrace = \"1s\"\n"),
            (Lines{"3:11: unknown key 'ready.htpp'; did you mean 'ready.http'?",
                   "4:10: unknown key 'stop.grce'; did you mean 'stop.grace'?",
                   "5:1: unknown key 'grace'; did you mean 'stop.grace'?"}));
}

TEST(Keys, ThoseOfLaterPartsAreRefusedWithThePart) {
  EXPECT_EQ(problems_of("replicas = 1\ntls = 1\n"),
            (Lines{"3:1: 'replicas' is not supported yet: it comes with the scheduler",
                   "4:1: 'tls' is not supported yet: it comes with the gateway"}));
}

TEST(Keys, EveryKeyOfThePlanIsKnown) {
  for (const char* key :
       {"kind", "every", "tls", "auth", "min", "max", "replicas", "gpu", "cpu", "profile",
        "allow_tf32", "strict_results", "pausable", "unload", "idle_stop", "idle_park"}) {
    const Lines found = problems_of(std::string(key) + " = 1\n");
    ASSERT_EQ(found.size(), 1U) << key;
    EXPECT_NE(found[0].find("is not supported yet"), std::string::npos) << found[0];
  }
}

TEST(Keys, TheLedgerIsKeptAsWritten) {
  const auto parsed = parse_text("[ledger]\nkeep = \"200d\"\nsyslog = \"/run/log\"\n");
  EXPECT_EQ(heads(parsed.problems), Lines{});
  EXPECT_EQ(parsed.ledger.keep, std::chrono::days(200));
  EXPECT_EQ(parsed.ledger.syslog, "/run/log");
  EXPECT_EQ(parse_text("[ledger]\nsyslog = false\n").ledger.syslog, "");
  EXPECT_EQ(parse_text("").ledger, LedgerPolicy{});
}

TEST(Host, TheKernelsLogIsWhereTheFileSays) {
  EXPECT_EQ(parse_text("").host.kernel_log, "/dev/kmsg");
  EXPECT_EQ(parse_text("[host]\nkernel_log = true\n").host.kernel_log, "/dev/kmsg");
  EXPECT_EQ(parse_text("[host]\nkernel_log = false\n").host.kernel_log, "");
  const auto parsed = parse_text("[host]\nkernel_log = \"/var/log/kern.log\"\n");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_EQ(parsed.host.kernel_log, "/var/log/kern.log");
}

TEST(Host, MetricsAreServedOnThisMachineOnly) {
  EXPECT_EQ(parse_text("").host.metrics, "");
  EXPECT_EQ(parse_text("[host]\nmetrics = false\n").host.metrics, "");
  for (const auto* where : {"127.0.0.1:9477", "[::1]:9477", "unix:/run/metrics.sock"}) {
    const auto parsed = parse_text("[host]\nmetrics = \"" + std::string(where) + "\"\n");
    EXPECT_TRUE(parsed.problems.empty()) << where;
    EXPECT_EQ(parsed.host.metrics, where);
  }
  for (const auto* wrong : {"\"0.0.0.0:9477\"", "\"[::]:9477\"", "\"10.0.0.1:9477\"", "\"9477\"",
                            "\"127.0.0.1\"", "\"127.0.0.1:0\"", "\"127.0.0.1:{port}\"",
                            "\"127.example.org:9477\"", "\"unix:x\"", "true", "9477"}) {
    const auto parsed = parse_text("[host]\nmetrics = " + std::string(wrong) + "\n");
    EXPECT_EQ(parsed.problems.size(), 1U) << wrong;
    EXPECT_EQ(parsed.host.metrics, "") << wrong;
  }
  EXPECT_EQ(heads(parse_text("[host]\nmetrics = \"0.0.0.0:9477\"\n").problems),
            (Lines{"2:11: 'host.metrics' is no place on this machine: '0.0.0.0:9477', expected "
                   "\"127.0.0.1:9477\", \"[::1]:9477\", \"unix:/PATH\" or false"}));
}

TEST(Host, MistakesAreTold) {
  EXPECT_EQ(heads(parse_text("[host]\nkernel_log = \"kern.log\"\nkernel_lok = 1\n").problems),
            (Lines{"2:14: 'host.kernel_log' is no path: 'kern.log', expected true, false, or the "
                   "absolute path of a device, a file or a FIFO",
                   "3:1: unknown key 'host.kernel_lok'; did you mean 'host.kernel_log'?"}));
  EXPECT_EQ(heads(parse_text("host = 1\n").problems),
            Lines{"1:8: 'host' is an integer, expected a table: [host]"});
  EXPECT_EQ(heads(parse_text("[hosts]\n").problems),
            Lines{"1:2: unknown table 'hosts'; did you mean 'host'?"});
}

TEST(Keys, MistakesAboutTheLedgerAreNamed) {
  EXPECT_EQ(heads(parse_text("[ledger]\nkeep = \"10d\"\nsyslog = \"log\"\nkep = 1\n").problems),
            (Lines{"2:8: 'ledger.keep' is out of range, expected 180d to 36500d",
                   "3:10: 'ledger.syslog' is no path: 'log', expected true, false, or the absolute "
                   "path of a syslog socket",
                   "4:1: unknown key 'ledger.kep'; did you mean 'ledger.keep'?"}));
  EXPECT_EQ(heads(parse_text("ledger = 1\n").problems),
            Lines{"1:10: 'ledger' is an integer, expected a table: [ledger]"});
}

TEST(Keys, OnlyServicesAndTheLedgerStandAtTheTopLevel) {
  EXPECT_EQ(heads(parse_text("color = 1\n[servic.a]\n[gateway]\n").problems),
            (Lines{"1:1: unknown key 'color' at the top level, expected [service.NAME], [reap], "
                   "[ledger] or [host]",
                   "2:2: unknown table 'servic'; did you mean 'service'?",
                   "3:2: unknown table 'gateway' at the top level, expected [service.NAME], "
                   "[reap], [ledger] or "
                   "[host]"}));
  EXPECT_EQ(heads(parse_text("service = 3\n").problems),
            Lines{"1:1: 'service' is an integer, expected one table for each service: "
                  "[service.NAME]"});
  EXPECT_EQ(heads(parse_text("[[service]]\ncommand = [\"x\"]\n").problems),
            Lines{"1:3: 'service' is a list, expected one table for each service: [service.NAME]"});
  EXPECT_EQ(heads(parse_text("[service]\ncommand = [\"x\"]\nweb = 1\n").problems),
            (Lines{"2:1: 'command' stands outside of a service, expected it below [service.NAME]",
                   "3:1: service 'web' is an integer, expected a table: [service.web]"}));
}

TEST(Keys, BadServiceNamesAreRefused) {
  for (const char* name : {"\"a b\"", "\"\"", "\"@gateway\"", "\"-x\"", "\"..\"", "\"a/b\""}) {
    const Parsed parsed = parse_text("[service." + std::string(name) + "]\ncommand = [\"x\"]\n");
    ASSERT_EQ(parsed.problems.size(), 1U) << name;
    EXPECT_NE(parsed.problems[0].what.find("bad service name"), std::string::npos);
    EXPECT_EQ(parsed.problems[0].expected, "1 to 64 of A-Z a-z 0-9 _ -, not beginning with '-'");
    EXPECT_TRUE(parsed.services.empty());
  }
}

TEST(Keys, DistanceCountsASwapOnce) {
  EXPECT_EQ(edit_distance("prot", "port"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(Syntax, TheFirstErrorEndsTheFileAndSaysSo) {
  EXPECT_EQ(heads(parse_text("[service.a]\ncommand = [\"x\"\nvenv = 1\n").problems),
            Lines{"3:1: not TOML: error while parsing array: expected comma or closing ']', saw "
                  "'v'; nothing else in this file was checked"});
  EXPECT_EQ(heads(parse_text("[service.a]\nstop = { grace = 10s }\n").problems),
            Lines{"2:20: not TOML: error while parsing decimal integer: expected digit, saw 's'; "
                  "nothing else in this file was checked, expected quotes around every text and "
                  "time: \"10s\""});
}

TEST(Syntax, AKeyOrATableWrittenTwicePointsAtTheSecond) {
  EXPECT_EQ(heads(parse_text("[service.a]\ncommand = [\"x\"]\ncommand = [\"y\"]\n").problems),
            Lines{"3:1: 'command' is written twice; nothing else in this file was checked, "
                  "expected one of them"});
  EXPECT_EQ(heads(parse_text("[service.a]\nrestart=\"never\"\n[service.a]\n").problems),
            Lines{"3:1: 'service.a' is written twice; nothing else in this file was checked, "
                  "expected one of them"});
}

TEST(Syntax, NestingIsBounded) {
  std::string dots = "a";
  for (int i = 0; i < 100'000; ++i) dots += ".a";
  EXPECT_EQ(heads(parse_text("# .......................................\nb = \"" +
                             std::string(100, '.') + "\"\n" + dots + " = 1\n")
                      .problems),
            Lines{"3:66: more than 32 dots in one key; nothing was read"});
  EXPECT_EQ(parse_text("a = " + std::string(100'000, '[')).problems.size(), 1U);
}

TEST(Syntax, AControlCharacterInATableHeaderIsAProblem) {
  EXPECT_EQ(heads(parse_text("[\x02").problems),
            Lines{"1:2: not TOML: error while parsing key: expected bare key starting character or "
                  "string delimiter, saw '\\u0002'; nothing else in this file was checked"});
}

TEST(Syntax, LettersBeyondAsciiNeedQuotes) {
  EXPECT_EQ(heads(parse_text("[service.a]\né = 1\n").problems),
            Lines{"2:1: not TOML: error while parsing root table: expected keys, tables, "
                  "whitespace or comments, saw 'é'; nothing "
                  "else in this file was checked"});
  EXPECT_EQ(problems_of("env = { A = \"\"\"x \\\n  é\"\"\" } # é\n"), Lines{});
}

TEST(Syntax, AnEmptyFileHasNoProblem) {
  const Parsed parsed = parse_text("");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_TRUE(parsed.services.empty());
}

TEST(Syntax, AByteOrderMarkAndWindowsLineEndsAreFine) {
  const Parsed parsed = parse_text("\xEF\xBB\xBF[service.a]\r\ncommand = [\"x\"]\r\nzebra = 1\r\n");
  ASSERT_EQ(parsed.problems.size(), 1U);
  EXPECT_EQ(parsed.problems[0].line, 3U);
  EXPECT_EQ(parsed.problems[0].source_line, "zebra = 1");
}

}  // namespace
}  // namespace gpuward::config
