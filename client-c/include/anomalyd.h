/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * anomalyd.h: asks an anomalyd daemon whether the images of a running simulation are normal.
 *
 *     anomalyd_options options = ANOMALYD_OPTIONS_INIT;
 *     anomalyd_client *client;
 *     anomalyd_verdict verdict;
 *     options.run = "run_a";
 *     anomalyd_open(&options, &client);
 *     anomalyd_classify(client, step, "entropy_0733.png", &verdict);
 *     if (verdict.acted) restore_checkpoint();
 *     anomalyd_close(client);
 *
 * No function prints, exits, aborts, raises a signal, or lasts longer than its time-out. A NULL or closed handle, a
 * NULL argument or a size that does not fit gives ANOMALYD_INVALID.
 *
 * Threads: a client belongs to the thread that opened it; another thread opens its own. Several clients may be open.
 *
 * fork: a client belongs to the process that opened it. In a child its functions answer ANOMALYD_INVALID, and
 * anomalyd_close() frees its memory but leaves its sockets alone; the child opens its own. MPI programs that call
 * fork() or system() after opening a client keep it in the parent unharmed.
 *
 * Strings: given ones are NUL-terminated and are only read during the call. Returned ones belong to the client and live
 * until the next call with the same client.
 */
#ifndef ANOMALYD_H
#define ANOMALYD_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && defined(ANOMALYD_BUILDING_SHARED)
#define ANOMALYD_API __attribute__((visibility("default")))
#else
#define ANOMALYD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this header. */
#define ANOMALYD_VERSION_MAJOR 0
#define ANOMALYD_VERSION_MINOR 1
#define ANOMALYD_VERSION_PATCH 0
#define ANOMALYD_VERSION_STRING "0.1.0"

/** Longest strings, in bytes without the terminating NUL (PROTOCOL.md, section 10). */
#define ANOMALYD_MAX_PATH 4096
#define ANOMALYD_MAX_RUN 128
#define ANOMALYD_MAX_MODEL 128
#define ANOMALYD_MAX_STREAM 128
#define ANOMALYD_MAX_TEXT 1024
#define ANOMALYD_MAX_INSTANCE 64
/** Longest endpoint, for example "tcp://node17:5671". The path after "ipc://" is at most ANOMALYD_MAX_IPC_PATH. */
#define ANOMALYD_MAX_ENDPOINT 511
/** What the operating system's sun_path holds. */
#define ANOMALYD_MAX_IPC_PATH 107
/** Longest time-out, ms: one day. */
#define ANOMALYD_MAX_TIMEOUT_MS 86400000

/**
 * How a call ended.
 *
 * Those below 100 happen on this side and never travel. Those of three digits are the daemon's (PROTOCOL.md, section
 * 8).
 */
typedef enum anomalyd_status {
    ANOMALYD_TIMEOUT = 1,        /**< a daemon is there, but no reply came in time; it may still judge the image */
    ANOMALYD_UNAVAILABLE = 2,    /**< no daemon answers at the endpoint */
    ANOMALYD_INVALID = 3,        /**< an argument is wrong, or the handle is closed */
    ANOMALYD_NO_MEMORY = 4,      /**< memory could not be had */
    ANOMALYD_BAD_REPLY = 5,      /**< what came is not a reply as PROTOCOL.md describes it */
    ANOMALYD_STALE_ENDPOINT = 6, /**< the endpoint file was left by a daemon that is gone, or cannot be used here */
    ANOMALYD_SYSTEM = 7,         /**< the operating system refused something, for example a file descriptor */
    ANOMALYD_BUSY = 8,           /**< the submitted request has no verdict yet */

    ANOMALYD_OK = 200,              /**< done: take the verdict */
    ANOMALYD_MALFORMED = 400,       /**< the daemon could not read the request */
    ANOMALYD_FORBIDDEN = 403,       /**< the path lies outside the daemon's allowed roots, or may not be read */
    ANOMALYD_NOT_FOUND = 404,       /**< no such file or model, or no such run or step to label */
    ANOMALYD_WRONG_SOCKET = 405,    /**< the endpoint is the daemon's control socket */
    ANOMALYD_DEADLINE_PASSED = 408, /**< the deadline passed before the daemon began */
    ANOMALYD_OUT_OF_ORDER = 409,    /**< the daemon no longer remembers its state at that step */
    ANOMALYD_TOO_LARGE = 413,       /**< the file or the image exceeds a limit */
    ANOMALYD_UNSUPPORTED = 415,     /**< not an image of a supported format, or not of the run's dimensions */
    ANOMALYD_UNDECODABLE = 422,     /**< truncated or damaged; perhaps still being written */
    ANOMALYD_OVERLOADED = 429,      /**< the daemon's queue is full */
    ANOMALYD_INTERNAL = 500,        /**< the daemon's fault */
    ANOMALYD_NOT_OFFERED = 501,     /**< this daemon does not do that */
    ANOMALYD_NOT_READY = 503,       /**< the daemon is starting or draining */
    ANOMALYD_VERSION = 505          /**< the daemon does not speak this client's protocol version */
} anomalyd_status;

/** What is said of an image. */
typedef enum anomalyd_label {
    ANOMALYD_NORMAL = 0,
    ANOMALYD_ANOMALOUS = 1,
    ANOMALYD_UNKNOWN = 2 /**< no verdict: a young model (status ANOMALYD_OK), or any other status */
} anomalyd_label;

/** Type of the values of a field. */
typedef enum anomalyd_dtype {
    ANOMALYD_F32 = 4, /**< float */
    ANOMALYD_F64 = 8  /**< double */
} anomalyd_dtype;

/** What to do when a call ends without ANOMALYD_OK. */
typedef enum anomalyd_policy {
    ANOMALYD_FAIL_OPEN = 0,  /**< go on */
    ANOMALYD_FAIL_CLOSED = 1 /**< treat the image as anomalous */
} anomalyd_policy;

/** How to reach the daemon and what to ask of it. Start from ANOMALYD_OPTIONS_INIT or anomalyd_options_init(). */
typedef struct anomalyd_options {
    /** sizeof(anomalyd_options), by which the library knows the caller's version of this struct. */
    size_t size;
    /** "ipc:///path" or "tcp://host:port", for CURVE with "?server_public_key=KEY" behind it. NULL: the variable
       ANOMALYD_ENDPOINT, else the endpoint file named by ANOMALYD_ENDPOINT_FILE, which is read again at each
       connection, so that a restarted daemon is found. */
    const char *endpoint;
    /** Name of the simulation run: letters, digits, "-_.:", at most ANOMALYD_MAX_RUN. NULL or "": no run; each image is
        judged alone by a fitted model, and nothing is learnt. */
    const char *run;
    /** Name of the fitted model: of the same characters, at most ANOMALYD_MAX_MODEL. NULL or "": the daemon's
     * configured one. */
    const char *model;
    /** Longest duration of a call, ms, 1 to ANOMALYD_MAX_TIMEOUT_MS. 0: 5000. */
    int32_t timeout_ms;
    /** How long a call waits while there is no connection before it answers ANOMALYD_UNAVAILABLE, ms, at most
       timeout_ms counts. 0: 1000. It is the pause for a daemon that is being restarted, and what each step costs
       without a daemon. */
    int32_t connect_timeout_ms;
    /** What to do when a call ends without ANOMALYD_OK. */
    anomalyd_policy policy;
    /** Not 0: ask for the heat map, see anomalyd_heatmap(). */
    int want_heatmap;
    /** CURVE: file with the client's key pair, lines public_key=... and secret_key=... in Z85, or a certificate of CZMQ
       or pyzmq. Readable by its owner only. NULL: a key pair made at open, for a daemon that admits any client. */
    const char *client_key_file;
    /** CURVE: file with the daemon's public key, a line server_public_key=... or public_key=... in Z85, or the bare
       key. NULL: the key with the endpoint or in the endpoint file; no key there means no encryption. */
    const char *server_key_file;
} anomalyd_options;

/** The default options. */
#define ANOMALYD_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(anomalyd_options), 0, 0, 0, 5000, 1000, ANOMALYD_FAIL_OPEN, 0, 0, 0                                     \
    }

/** What became of one image. Always filled in, whatever the status. */
typedef struct anomalyd_verdict {
    /** The time step that was asked for. */
    int64_t step;
    /** Dimensionless; higher is more anomalous; NaN where there is none. */
    double score;
    /** The label is ANOMALYD_ANOMALOUS if score > threshold; NaN where there is none. */
    double threshold;
    /** How the call ended; the same that it returned. */
    anomalyd_status status;
    /** ANOMALYD_UNKNOWN unless the daemon said otherwise. */
    anomalyd_label label;
    /** 1: treat the image as anomalous, since the label says so or since there is no verdict and the policy is
        ANOMALYD_FAIL_CLOSED. 0: go on. A young model (ANOMALYD_OK, ANOMALYD_UNKNOWN) is 0 under either policy. */
    int acted;
    /** 1: the daemon was restarted since this client's last verdict from it. */
    int restarted;
    /** Names the life of the daemon process that answered; empty where none did. */
    char instance[ANOMALYD_MAX_INSTANCE + 1];
} anomalyd_verdict;

/** A connection to a daemon on behalf of one simulation run. */
typedef struct anomalyd_client anomalyd_client;

/** Sets `options` to the defaults. NULL is ignored. Compiled into the caller, whose version of the struct it then has.
 */
static inline void anomalyd_options_init(anomalyd_options *options)
{
    static const anomalyd_options defaults = ANOMALYD_OPTIONS_INIT;
    if (options != NULL)
        *options = defaults;
}

/**
 * Opens a client.
 *
 * It checks the options and begins to connect, but waits for no daemon: one that starts later is found by the calls.
 *
 * @param options  The options; they and their strings are copied.
 * @param client   Receives the client, to be closed with anomalyd_close(); NULL after a failure.
 *
 * @retval ANOMALYD_OK         the client is open
 * @retval ANOMALYD_INVALID    an option is wrong, no endpoint is given anywhere, or a key file cannot be used
 * @retval ANOMALYD_NO_MEMORY  memory could not be had
 * @retval ANOMALYD_SYSTEM     too few file descriptors are left
 *
 * The words for a failure are in anomalyd_last_error(NULL) of the same thread.
 */
ANOMALYD_API anomalyd_status anomalyd_open(const anomalyd_options *options, anomalyd_client **client);

/**
 * Closes a client and frees it. NULL is ignored.
 *
 * It does not wait for a daemon; a request in flight is given up. (Where the endpoint is a host name that the resolver
 * is still looking up, libzmq waits for the resolver; a numeric address avoids that.)
 */
ANOMALYD_API void anomalyd_close(anomalyd_client *client);

/**
 * Asks whether the image of one time step is normal, and waits for the verdict.
 *
 * The call returns within the client's time-out, whatever the daemon does. A connection that is lost on the way is made
 * again and the same request repeated; the daemon executes it once.
 *
 * @param client   Open client, from anomalyd_open().
 * @param step     Time step of the image. A step at or before the newest judged one means that the simulation went
 * back.
 * @param path     Path of the image as the daemon sees it, at most ANOMALYD_MAX_PATH bytes; a relative one is completed
 *                 with this process's working directory.
 * @param verdict  Receives the verdict; after a failure its label is ANOMALYD_UNKNOWN and its step is `step`.
 *
 * @retval ANOMALYD_OK           a verdict for this very step was received
 * @retval ANOMALYD_TIMEOUT      none came in time; the daemon may still judge the image
 * @retval ANOMALYD_UNAVAILABLE  no daemon answers at the endpoint
 * @retval ANOMALYD_BUSY         a submitted request has not been waited for
 *
 * Any other status is possible; anomalyd_last_error() has the words for it.
 */
ANOMALYD_API anomalyd_status anomalyd_classify(anomalyd_client *client, int64_t step, const char *path,
                                               anomalyd_verdict *verdict);

/**
 * Asks whether a raw field of one time step is normal, and waits for the verdict, as anomalyd_classify() does.
 *
 * The field is judged on its own grid, of `rows x columns` zones or of `variables x rows x columns`. A NaN or an
 * infinity anywhere in it is anomalous at once. Needs a run, which then has fields of one shape and no images.
 *
 * The values are only read during the call; the whole of them travels to the daemon, which limits a request
 * (sockets.max_message_bytes, 64 MiB by default).
 *
 * @param values     The values, contiguous, the last extent the fastest.
 * @param dtype      ANOMALYD_F32 or ANOMALYD_F64.
 * @param n_extents  Number of extents, 1 to 4; extents of 1 do not count, of the others the daemon wants two or three.
 * @param extents    [n_extents], the slowest first: rows, columns, or variables, rows, columns; at least 8 rows and
 *                   columns, at most 16 variables.
 * @param verdict    As for anomalyd_classify().
 *
 * @retval ANOMALYD_UNSUPPORTED  another shape than those above or than the run's
 * @retval ANOMALYD_TOO_LARGE    more bytes than the daemon takes
 *
 * Any other status is as for anomalyd_classify().
 */
ANOMALYD_API anomalyd_status anomalyd_classify_field(anomalyd_client *client, int64_t step, const void *values,
                                                     anomalyd_dtype dtype, int n_extents, const size_t *extents,
                                                     anomalyd_verdict *verdict);

/**
 * Asks as anomalyd_classify() does, but returns as soon as the request is sent, usually in microseconds.
 *
 * The simulation can compute on and fetch the verdict with anomalyd_poll() or anomalyd_wait(). One request is in flight
 * at most. The time-out counts from this call; a reply that came in time is kept however late it is fetched. After a
 * failure nothing is in flight, and the next anomalyd_poll() or anomalyd_wait() reports the same failure in its
 * verdict.
 *
 * @retval ANOMALYD_OK    sent
 * @retval ANOMALYD_BUSY  one is in flight already
 *
 * Any other status is as for anomalyd_classify().
 */
ANOMALYD_API anomalyd_status anomalyd_submit(anomalyd_client *client, int64_t step, const char *path);

/**
 * Fetches the verdict of the submitted request if it is there; does not wait.
 *
 * @param verdict  Receives the verdict; its status is ANOMALYD_BUSY and its label ANOMALYD_UNKNOWN while there is none.
 *
 * @retval ANOMALYD_BUSY     the request is still in flight
 * @retval ANOMALYD_INVALID  nothing was submitted
 *
 * Any other status is as for anomalyd_classify(), and ends the request.
 */
ANOMALYD_API anomalyd_status anomalyd_poll(anomalyd_client *client, anomalyd_verdict *verdict);

/** Waits for the verdict of the submitted request, at most until its time-out; otherwise as anomalyd_poll(). */
ANOMALYD_API anomalyd_status anomalyd_wait(anomalyd_client *client, anomalyd_verdict *verdict);

/**
 * Names the stream of the calls that follow: which of several outputs per step (variables, slices) their images are.
 *
 * Each stream of a run is compared with its own images; the daemon's false-alarm rate is shared by a run's streams. It
 * concerns anomalyd_classify(), anomalyd_classify_field(), anomalyd_submit() and anomalyd_label_step(); a rewind
 * concerns all streams of the run. A request that is in flight keeps its stream. Nothing is sent.
 *
 * @param stream  Letters, digits, "-_.:", at most ANOMALYD_MAX_STREAM; NULL or "": the default stream.
 *
 * @retval ANOMALYD_OK       the stream is named
 * @retval ANOMALYD_INVALID  the name is wrong; the stream is as it was
 */
ANOMALYD_API anomalyd_status anomalyd_set_stream(anomalyd_client *client, const char *stream);

/**
 * Tells the daemon that the simulation has gone back to the state right after `step`.
 *
 * The daemon forgets the images of all later steps. Needs a run. Lasts at most the client's time-out.
 *
 * @retval ANOMALYD_OK            done, or there was nothing to forget
 * @retval ANOMALYD_OUT_OF_ORDER  the daemon no longer remembers its state at that step, and has changed nothing
 */
ANOMALYD_API anomalyd_status anomalyd_rewind(anomalyd_client *client, int64_t step);

/**
 * Tells the daemon the truth about the image of a step, as an operator sees it. Needs a run.
 *
 * It goes before the score whenever the same image comes back at that step. A normal image that raised an alarm is
 * accepted; an anomalous one that was accepted is forgotten with all later ones, as by anomalyd_rewind() to the step
 * before.
 *
 * @param label  ANOMALYD_NORMAL or ANOMALYD_ANOMALOUS.
 *
 * @retval ANOMALYD_NOT_FOUND     the daemon does not remember the run, or no image of that step
 * @retval ANOMALYD_OUT_OF_ORDER  the daemon no longer remembers its state before that step, and has changed nothing
 * @retval ANOMALYD_NOT_OFFERED   this daemon does not learn from labels
 */
ANOMALYD_API anomalyd_status anomalyd_label_step(anomalyd_client *client, int64_t step, anomalyd_label label);

/** Asks the daemon whether it is there. Lasts at most the client's time-out. */
ANOMALYD_API anomalyd_status anomalyd_ping(anomalyd_client *client);

/**
 * The JSON detail of the last reply (PROTOCOL.md, section 9), for example {"p_value":0.41,...}.
 *
 * @param length  Receives its length in bytes; may be NULL.
 * @return        NUL-terminated, "" where there is none; never NULL.
 */
ANOMALYD_API const char *anomalyd_detail(const anomalyd_client *client, size_t *length);

/**
 * The heat map of the last reply, a PNG file, if the client was opened with want_heatmap and the daemon could make it.
 *
 * @param length  Receives its length in bytes, 0 where there is none; may be NULL.
 * @return        The bytes, NULL where there are none.
 */
ANOMALYD_API const unsigned char *anomalyd_heatmap(const anomalyd_client *client, size_t *length);

/** The daemon's line for a person in the last reply; "" where there is none; never NULL. */
ANOMALYD_API const char *anomalyd_text(const anomalyd_client *client);

/**
 * Why the last call with this client ended without ANOMALYD_OK: what was found, what was expected, what to do.
 *
 * With NULL: why the last anomalyd_open() of this thread failed.
 *
 * @return  One line, "" where the last call succeeded; never NULL.
 */
ANOMALYD_API const char *anomalyd_last_error(const anomalyd_client *client);

/** A few words for a status, for example "no daemon answers"; for any value; never NULL; valid for ever. */
ANOMALYD_API const char *anomalyd_strerror(anomalyd_status status);

/** "normal", "anomalous" or "unknown"; for any value; never NULL; valid for ever. */
ANOMALYD_API const char *anomalyd_label_name(anomalyd_label label);

/** Version of the library, as ANOMALYD_VERSION_STRING is that of the header; valid for ever. */
ANOMALYD_API const char *anomalyd_library_version(void);

#ifdef __cplusplus
}
#endif

#endif
