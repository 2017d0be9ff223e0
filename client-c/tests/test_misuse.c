/* Wrong use: never a crash, always ANOMALYD_INVALID and words that help. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static anomalyd_status open_with(anomalyd_options *options)
{
    anomalyd_client *client = (anomalyd_client *)options; /* must be overwritten */
    anomalyd_status status = anomalyd_open(options, &client);
    CHECK((client == NULL) == (status != ANOMALYD_OK));
    CHECK((anomalyd_last_error(NULL)[0] == '\0') == (status == ANOMALYD_OK));
    anomalyd_close(client);
    return status;
}

static anomalyd_options good(void)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    options.endpoint = "ipc:///tmp/anomalyd-nobody.sock";
    options.run = "run_a";
    return options;
}

static void null_handle_is_invalid(void)
{
    anomalyd_verdict verdict;
    size_t length = 7;
    memset(&verdict, 0x55, sizeof verdict);
    CHECK_STATUS(anomalyd_classify(NULL, 3, "/a.png", &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(verdict.status, ANOMALYD_INVALID);
    CHECK(verdict.label == ANOMALYD_UNKNOWN && verdict.step == 3 && isnan(verdict.score) && isnan(verdict.threshold));
    CHECK(verdict.acted == 0 && verdict.restarted == 0);
    CHECK_TEXT(verdict.instance, "");
    CHECK_STATUS(anomalyd_classify(NULL, 3, NULL, NULL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_submit(NULL, 3, "/a.png"), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_poll(NULL, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_wait(NULL, NULL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_rewind(NULL, 3), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_label_step(NULL, 3, ANOMALYD_NORMAL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_ping(NULL), ANOMALYD_INVALID);
    CHECK_TEXT(anomalyd_detail(NULL, &length), "");
    CHECK(length == 0);
    CHECK(anomalyd_heatmap(NULL, NULL) == NULL);
    CHECK_TEXT(anomalyd_text(NULL), "");
    CHECK(anomalyd_last_error(NULL) != NULL);
    anomalyd_close(NULL);
    anomalyd_options_init(NULL);
}

static void null_arguments_of_open_are_invalid(void)
{
    anomalyd_options options = good();
    anomalyd_client *client;
    CHECK_STATUS(anomalyd_open(&options, NULL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_open(NULL, &client), ANOMALYD_INVALID);
    CHECK(client == NULL);
    CHECK_STATUS(anomalyd_open(NULL, NULL), ANOMALYD_INVALID);
}

static void options_of_a_wrong_size_are_invalid(void)
{
    struct {
        anomalyd_options known;
        char later[16];
    } newer;
    anomalyd_options options = good();
    options.size = 0;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "ANOMALYD_OPTIONS_INIT");
    options.size = sizeof options - 1;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options.size = (size_t)-1;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);

    memset(&newer, 0, sizeof newer);
    newer.known = good();
    newer.known.size = sizeof newer;
    CHECK_STATUS(open_with(&newer.known), ANOMALYD_OK);
    newer.later[3] = 1; /* an option that this library does not know */
    CHECK_STATUS(open_with(&newer.known), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "update");
}

static void wrong_options_are_told_by_name(void)
{
    char longer[ANOMALYD_MAX_RUN + 2];
    anomalyd_options options = good();
    memset(longer, 'r', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    options.run = longer;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "run has 129 bytes");
    longer[ANOMALYD_MAX_RUN] = '\0';
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
    options.run = "run a";
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "character 4");
    options.run = "r\xc3\xa9";
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options = good();
    options.model = "../model";
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "option model");
    options = good();
    options.timeout_ms = -1;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "timeout_ms is -1");
    options.timeout_ms = ANOMALYD_MAX_TIMEOUT_MS + 1;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options = good();
    options.connect_timeout_ms = INT32_MIN;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options = good();
    options.policy = (anomalyd_policy)2;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "policy");
}

static void endpoint_of_a_wrong_form_is_invalid(void)
{
    static const char *const wrong[] = {
        "node17:5671",        "ipc://",          "tcp://node17",         "tcp://:5671",       "tcp://node17:0",
        "tcp://node17:65536", "tcp://node17:5x", "tcp://*:5671",         "tcp://node17:*",    "inproc://x",
        "pgm://eth0;1.2.3.4", "http://node17:1", "/run/anomalyd/s.sock", "IPC:///run/s.sock", " ipc:///run/s.sock",
    };
    char path[200] = "ipc://";
    anomalyd_options options = good();
    size_t idx;
    for (idx = 0; idx < sizeof wrong / sizeof wrong[0]; ++idx) {
        options.endpoint = wrong[idx];
        CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
        CHECK_SAYS(anomalyd_last_error(NULL), wrong[idx]);
    }
    options.endpoint = path;
    memset(path + 6, 'p', ANOMALYD_MAX_IPC_PATH);
    path[6] = '/';
    path[6 + ANOMALYD_MAX_IPC_PATH] = '\0';
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
    path[6 + ANOMALYD_MAX_IPC_PATH] = 'p';
    path[7 + ANOMALYD_MAX_IPC_PATH] = '\0';
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "108 bytes, the system's limit is 107");
}

static void no_endpoint_anywhere_is_invalid(void)
{
    anomalyd_options options = good();
    options.endpoint = NULL;
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "ANOMALYD_ENDPOINT_FILE");
    options.endpoint = "";
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    (void)setenv("ANOMALYD_ENDPOINT", "nonsense", 1);
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    (void)unsetenv("ANOMALYD_ENDPOINT");
}

static void key_files_that_cannot_be_used_are_invalid(void)
{
    static const char key[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    char content[256];
    const char *path = check_path("keys");
    anomalyd_options options = good();
    options.client_key_file = check_path("absent");
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options.client_key_file = path;
    (void)snprintf(content, sizeof content, "public_key=%s\nsecret_key=%s\n", key, key);
    check_write(path, content);
    (void)chmod(path, 0644);
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(NULL), "chmod 600");
    (void)chmod(path, 0600);
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
    (void)snprintf(content, sizeof content, "public_key=%s\nsecret_key=%.39s\n", key, key);
    check_write(path, content);
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options.client_key_file = check_directory();
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    options.client_key_file = NULL;
    options.server_key_file = path;
    check_write(path, "\n\nserver_public_key = \"short\"\n");
    CHECK_STATUS(open_with(&options), ANOMALYD_INVALID);
    check_write(path, key); /* a bare key */
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
    (void)snprintf(content, sizeof content, "curve\n    public-key = \"%s\"\n", key); /* as CZMQ writes it */
    check_write(path, content);
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
}

static void arguments_of_calls_are_checked_before_anything_is_sent(void)
{
    static char longer[ANOMALYD_MAX_PATH + 2];
    anomalyd_verdict verdict;
    anomalyd_options options = good();
    anomalyd_client *client;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_classify(client, 1, NULL, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify(client, 1, "", &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "empty");
    CHECK_STATUS(verdict.status, ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify(client, 1, "/a.png", NULL), ANOMALYD_INVALID);
    memset(longer, '/', sizeof longer - 1);
    CHECK_STATUS(anomalyd_classify(client, 1, longer, &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "4097 bytes, the limit is 4096");
    memset(longer, 'a', ANOMALYD_MAX_PATH - 1); /* too long with the working directory before it */
    longer[ANOMALYD_MAX_PATH - 1] = '\0';
    CHECK_STATUS(anomalyd_submit(client, 1, longer), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_label_step(client, 1, ANOMALYD_UNKNOWN), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_label_step(client, 1, (anomalyd_label)-1), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_poll(client, NULL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "nothing was submitted");
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_set_stream(NULL, "x"), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_set_stream(client, "a/b"), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "character 2 is none of");
    memset(longer, 'a', ANOMALYD_MAX_STREAM + 1);
    longer[ANOMALYD_MAX_STREAM + 1] = '\0';
    CHECK_STATUS(anomalyd_set_stream(client, longer), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "129 bytes, the limit is 128");
    longer[ANOMALYD_MAX_STREAM] = '\0';
    CHECK_STATUS(anomalyd_set_stream(client, longer), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_set_stream(client, NULL), ANOMALYD_OK);
    anomalyd_close(client);

    options.run = NULL;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_rewind(client, 1), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "needs a run");
    CHECK_STATUS(anomalyd_label_step(client, 1, ANOMALYD_NORMAL), ANOMALYD_INVALID);
    anomalyd_close(client);
}

static void child_of_a_fork_is_refused_and_can_close(void)
{
    anomalyd_client *client = open_at("ipc:///tmp/anomalyd-nobody.sock", 300, ANOMALYD_FAIL_CLOSED);
    int how = -1;
    pid_t child = fork();
    if (child == 0) {
        anomalyd_verdict verdict;
        int good_so_far = anomalyd_classify(client, 1, "/a.png", &verdict) == ANOMALYD_INVALID && verdict.acted == 1 &&
                          strstr(anomalyd_last_error(client), "fork") != NULL &&
                          anomalyd_ping(client) == ANOMALYD_INVALID;
        anomalyd_close(client);
        if (good_so_far)
            (void)raise(
                SIGKILL); /* an ordinary end would have valgrind look for what libzmq left behind in the child */
        _exit(1);
    }
    CHECK(waitpid(child, &how, 0) == child);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    CHECK_STATUS(anomalyd_ping(client), ANOMALYD_UNAVAILABLE); /* the parent's is unharmed */
    anomalyd_close(client);
}

static void too_few_descriptors_are_told_not_aborted_on(void)
{
    struct rlimit before, few;
    anomalyd_options options = good();
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 12;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_STATUS(open_with(&options), ANOMALYD_SYSTEM);
    CHECK_SAYS(anomalyd_last_error(NULL), "ulimit -n");
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_STATUS(open_with(&options), ANOMALYD_OK);
}

static void every_value_has_words(void)
{
    int value;
    for (value = -2; value < 1000; ++value)
        CHECK(anomalyd_strerror((anomalyd_status)value)[0] != '\0');
    CHECK_TEXT(anomalyd_strerror((anomalyd_status)9), "unlisted status");
    CHECK_TEXT(anomalyd_label_name(ANOMALYD_NORMAL), "normal");
    CHECK_TEXT(anomalyd_label_name(ANOMALYD_ANOMALOUS), "anomalous");
    CHECK_TEXT(anomalyd_label_name((anomalyd_label)77), "unknown");
    CHECK_TEXT(anomalyd_library_version(), ANOMALYD_VERSION_STRING);
    {
        char numbers[32];
        (void)snprintf(numbers, sizeof numbers, "%d.%d.%d", ANOMALYD_VERSION_MAJOR, ANOMALYD_VERSION_MINOR,
                       ANOMALYD_VERSION_PATCH);
        CHECK_TEXT(numbers, ANOMALYD_VERSION_STRING);
    }
}

int main(void)
{
    (void)unsetenv("ANOMALYD_ENDPOINT");
    (void)unsetenv("ANOMALYD_ENDPOINT_FILE");
    RUN(null_handle_is_invalid);
    RUN(null_arguments_of_open_are_invalid);
    RUN(options_of_a_wrong_size_are_invalid);
    RUN(wrong_options_are_told_by_name);
    RUN(endpoint_of_a_wrong_form_is_invalid);
    RUN(no_endpoint_anywhere_is_invalid);
    RUN(key_files_that_cannot_be_used_are_invalid);
    RUN(arguments_of_calls_are_checked_before_anything_is_sent);
    RUN(child_of_a_fork_is_refused_and_can_close);
    RUN(too_few_descriptors_are_told_not_aborted_on);
    RUN(every_value_has_words);
    return check_result();
}
