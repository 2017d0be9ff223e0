/* The tests' own tools: checks that count failures, a clock, a peer process. */
#ifndef CHECK_H
#define CHECK_H

#include <anomalyd.h>
#include <stddef.h>
#include <sys/types.h>

/* Counts and tells a failure; the test goes on. */
#define CHECK(truth) check_truth((truth) != 0, #truth, __FILE__, __LINE__)
#define CHECK_STATUS(found, wanted) check_status((int)(found), (int)(wanted), #found, __FILE__, __LINE__)
#define CHECK_TEXT(found, wanted) check_text(found, wanted, #found, __FILE__, __LINE__)
/* That `found` contains `wanted`. */
#define CHECK_SAYS(found, wanted) check_says(found, wanted, #found, __FILE__, __LINE__)

void check_truth(int truth, const char *what, const char *file, int line);
void check_status(int found, int wanted, const char *what, const char *file, int line);
void check_text(const char *found, const char *wanted, const char *what, const char *file, int line);
void check_says(const char *found, const char *wanted, const char *what, const char *file, int line);

/* Runs one behaviour and tells its name if it fails. */
#define RUN(behaviour) check_run(behaviour, #behaviour)
void check_run(void (*behaviour)(void), const char *name);

/* The exit code for main. */
int check_result(void);

double check_now_ms(void);

/* How much later than its time-out a call may return. A machine that is busy with other things may make one call late,
 * so a test asks up to three times before it complains. */
#define SLACK_MS 50

/* A directory of this test's own, with a path short enough for sockets; removed at the end. */
const char *check_directory(void);
/* A path in it. Eight calls later the same buffer is used again. */
const char *check_path(const char *name);
void check_write(const char *path, const char *content);

/* A tests/server.py. */
typedef struct peer {
    pid_t pid;
    int output;
    char endpoint[256];
} peer;

/* Starts one with these arguments, ended by NULL, and waits until it is ready. Ends the test where it cannot be
 * started. */
void peer_start(peer *server, const char *const *arguments);
/* The same for any Python program: its arguments, for example "-c" and a text. */
void peer_start_python(peer *server, const char *const *arguments);
void peer_signal(const peer *server, int signal);
/* Waits until a process that ends by itself has ended. */
void peer_wait(peer *server);
void peer_kill(peer *server);

/* A client with a run, at the peer. */
anomalyd_client *open_at(const char *endpoint, int32_t timeout_ms, anomalyd_policy policy);

#endif
