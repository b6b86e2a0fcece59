/*
 * Sockets that Node.js does not offer: AF_PACKET, raw IP, netlink and UDP with control messages, received in batches.
 *
 * This file knows no protocol. Addresses, option values and filters come in and go out as the bytes that the kernel takes and
 * gives; src/sys/ makes and reads them. What is here: system calls, argument checks, and the life cycle of a polled descriptor.
 *
 * Life cycle. A Sock is owned by a JavaScript object (napi_wrap). While it is polled it holds a strong reference to that object,
 * so it cannot be collected; the libuv handle is a separate allocation that outlives the Sock until its close callback. An
 * asynchronous clean-up hook per environment closes what is still open when a worker is terminated, and waits for libuv: a loop that is
 * closed with open handles aborts the process.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The part of libuv's stable interface that is used; its header does not come with Node.js. */
typedef void uv_poll;
typedef void uv_loop;
typedef void (*uv_poll_callback)(uv_poll *handle, int status, int events);
typedef void (*uv_close_callback)(void *handle);
extern size_t uv_handle_size(int type);
extern const char *uv_handle_type_name(int type);
extern int uv_poll_init(uv_loop *loop, uv_poll *handle, int fd);
extern int uv_poll_start(uv_poll *handle, int events, uv_poll_callback callback);
extern void uv_close(void *handle, uv_close_callback callback);
extern void uv_handle_set_data(void *handle, void *data);
extern void *uv_handle_get_data(const void *handle);
extern char *uv_err_name_r(int error, char *buffer, size_t length);
extern const char *uv_strerror(int error);
enum { UV_POLL_TYPE = 8, UV_READABLE_EVENT = 1 };

enum {
  SLOTS_MAX = 64,    /* messages per recvmmsg or sendmmsg */
  META_INTS = 16,    /* int32 values that describe one received message; src/sys/native.ts names them */
  ADDRESS_SIZE = 28, /* sockaddr_in6, the longest of those that are used */
  CONTROL_SIZE = 256,
  OPTION_MAX = 4096,
  SEND_BATCH_MAX = 4096,
  FILTER_MAX = 4096, /* BPF_MAXINSNS */
};

typedef struct Sock Sock;

/* One per environment (main thread or worker). */
typedef struct {
  uv_loop *loop;
  Sock *open; /* those that hold a descriptor */
  size_t closing; /* libuv handles whose close callback is still to come */
  napi_async_cleanup_hook_handle hook;
  napi_async_context context;
  bool hook_runs;
  bool finalized;
} Env;

struct Sock {
  Env *owner;
  napi_env env;
  Sock *next, *previous;
  int fd; /* -1 once closed or released */
  int domain;
  uv_poll *poll; /* NULL unless polled */
  napi_ref self, ring, meta, callback;
  uint32_t slot_size;
  uint32_t batches_max;
  double received, sent, send_errors, receive_errors, dropped_by_packet_socket;
  uint32_t dropped_by_queue; /* SO_RXQ_OVFL: the kernel's own running count */
  int send_errno;
};

static const napi_type_tag SOCK_TAG = {0x6c6f6465736f636bULL, 0x9d1f2c7b54a84e03ULL};

/* ---- errors ---- */

#define CHECK(call) \
  do { \
    if ((call) != napi_ok) return fail_napi(env); \
  } while (0)

static napi_value fail_napi(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) {
    const napi_extended_error_info *info = NULL;
    napi_get_last_error_info(env, &info);
    const char *message = info != NULL && info->error_message != NULL ? info->error_message : "Node-API call failed";
    napi_throw_error(env, "ERR_NATIVE", message);
  }
  return NULL;
}

static napi_value fail_type(napi_env env, const char *message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return NULL;
}

static napi_value fail_range(napi_env env, const char *message) {
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return NULL;
}

/* An Error with code, errno and syscall as Node's own system errors have; `capability` is named when the kernel says EPERM or EACCES. */
static napi_value fail_errno(napi_env env, const char *syscall_name, int error, const char *capability) {
  char code[32] = "EUNKNOWN";
  char text[256];
  uv_err_name_r(-error, code, sizeof code);
  bool refused = (error == EPERM || error == EACCES) && capability != NULL;
  if (refused)
    snprintf(text, sizeof text, "%s: %s: the process needs the capability %s", syscall_name, code, capability);
  else
    snprintf(text, sizeof text, "%s: %s: %s", syscall_name, code, uv_strerror(-error));
  /* Only EPERM is asked for by callers that explain a missing privilege. */
  const char *code_out = refused && error == EACCES ? "EPERM" : code;
  napi_value message, code_value, error_object, number, name;
  CHECK(napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message));
  CHECK(napi_create_string_utf8(env, code_out, NAPI_AUTO_LENGTH, &code_value));
  CHECK(napi_create_error(env, code_value, message, &error_object));
  CHECK(napi_create_int32(env, error, &number));
  CHECK(napi_create_string_utf8(env, syscall_name, NAPI_AUTO_LENGTH, &name));
  CHECK(napi_set_named_property(env, error_object, "errno", number));
  CHECK(napi_set_named_property(env, error_object, "syscall", name));
  napi_throw(env, error_object);
  return NULL;
}

/* ---- arguments ---- */

static bool get_args(napi_env env, napi_callback_info info, size_t least, size_t most, napi_value *values) {
  size_t count = most;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok) {
    fail_napi(env);
    return false;
  }
  if (count < least) {
    fail_type(env, "too few arguments");
    return false;
  }
  return true;
}

/* Whole numbers only: NaN, fractions and what lies outside throw. */
static bool get_int(napi_env env, napi_value value, const char *name, double low, double high, int64_t *out) {
  napi_valuetype type;
  double number;
  char text[96];
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_number ||
      napi_get_value_double(env, value, &number) != napi_ok) {
    snprintf(text, sizeof text, "%s must be a number", name);
    fail_type(env, text);
    return false;
  }
  if (!(number >= low && number <= high) || number != floor(number)) {
    snprintf(text, sizeof text, "%s must be a whole number from %.0f to %.0f", name, low, high);
    fail_range(env, text);
    return false;
  }
  *out = (int64_t)number;
  return true;
}

static bool is_missing(napi_env env, napi_value value) {
  napi_valuetype type;
  return napi_typeof(env, value, &type) == napi_ok && type == napi_undefined;
}

static bool get_typed(napi_env env, napi_value value, const char *name, napi_typedarray_type wanted, const char *wanted_name,
                      void **data, size_t *length) {
  bool is_typed = false;
  napi_typedarray_type type = napi_int8_array;
  size_t count = 0;
  void *start = NULL;
  char text[96];
  if (napi_is_typedarray(env, value, &is_typed) != napi_ok || !is_typed ||
      napi_get_typedarray_info(env, value, &type, &count, &start, NULL, NULL) != napi_ok || type != wanted) {
    snprintf(text, sizeof text, "%s must be a %s", name, wanted_name);
    fail_type(env, text);
    return false;
  }
  *data = start;
  *length = start == NULL ? 0 : count; /* a detached buffer has no bytes */
  return true;
}

static bool get_bytes(napi_env env, napi_value value, const char *name, size_t least, size_t most, uint8_t **data,
                      size_t *length) {
  void *start;
  char text[96];
  if (!get_typed(env, value, name, napi_uint8_array, "Uint8Array", &start, length)) return false;
  if (*length < least || *length > most) {
    snprintf(text, sizeof text, "%s must have %zu to %zu bytes", name, least, most);
    fail_range(env, text);
    return false;
  }
  *data = start;
  return true;
}

static Sock *get_sock(napi_env env, napi_value value) {
  napi_valuetype type;
  bool tagged = false;
  void *data = NULL;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, value, &SOCK_TAG, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, value, &data) != napi_ok) {
    fail_type(env, "the first argument must be a socket that open() returned");
    return NULL;
  }
  return data;
}

static Sock *get_open_sock(napi_env env, napi_value value) {
  Sock *sock = get_sock(env, value);
  if (sock != NULL && sock->fd < 0) {
    napi_throw_error(env, "ERR_SOCKET_CLOSED", "the socket is closed");
    return NULL;
  }
  return sock;
}

/* A socket of ours, or the number of a descriptor that Node owns (a TCP connection). */
static bool get_fd(napi_env env, napi_value value, int *fd) {
  napi_valuetype type;
  int64_t number;
  if (napi_typeof(env, value, &type) == napi_ok && type == napi_number) {
    if (!get_int(env, value, "descriptor", 0, INT32_MAX, &number)) return false;
    *fd = (int)number;
    return true;
  }
  Sock *sock = get_open_sock(env, value);
  if (sock == NULL) return false;
  *fd = sock->fd;
  return true;
}

static napi_value undefined(napi_env env) {
  napi_value value = NULL;
  napi_get_undefined(env, &value);
  return value;
}

static napi_value number(napi_env env, double from) {
  napi_value value = NULL;
  napi_create_double(env, from, &value);
  return value;
}

static napi_value boolean(napi_env env, bool from) {
  napi_value value = NULL;
  napi_get_boolean(env, from, &value);
  return value;
}

/* ---- life cycle ---- */

static void env_release(Env *owner) {
  if (owner->finalized && owner->closing == 0) free(owner);
}

static void on_poll_closed(void *handle) {
  Env *owner = uv_handle_get_data(handle);
  free(handle);
  owner->closing--;
  if (owner->hook_runs && owner->closing == 0) {
    napi_async_cleanup_hook_handle hook = owner->hook;
    owner->hook = NULL;
    napi_remove_async_cleanup_hook(hook);
  }
  env_release(owner);
}

static void drop_ref(napi_env env, napi_ref *ref) {
  if (*ref != NULL) napi_delete_reference(env, *ref);
  *ref = NULL;
}

/* Ends polling and gives the descriptor up without closing it. */
static int sock_detach(Sock *sock) {
  int fd = sock->fd;
  if (fd < 0) return -1;
  sock->fd = -1;
  if (sock->poll != NULL) {
    uv_poll *poll = sock->poll;
    sock->poll = NULL;
    uv_handle_set_data(poll, sock->owner);
    sock->owner->closing++;
    uv_close(poll, on_poll_closed); /* from here on libuv does not touch the descriptor */
  }
  if (sock->previous != NULL) sock->previous->next = sock->next;
  else sock->owner->open = sock->next;
  if (sock->next != NULL) sock->next->previous = sock->previous;
  sock->next = sock->previous = NULL;
  drop_ref(sock->env, &sock->callback);
  drop_ref(sock->env, &sock->ring);
  drop_ref(sock->env, &sock->meta);
  drop_ref(sock->env, &sock->self);
  return fd;
}

static void sock_close(Sock *sock) {
  int fd = sock_detach(sock);
  if (fd >= 0) close(fd);
}

static void on_sock_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  sock_close(data);
  free(data);
}

static void on_env_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  Env *owner = data;
  owner->hook_runs = true;
  while (owner->open != NULL) sock_close(owner->open);
  if (owner->closing == 0) {
    owner->hook = NULL;
    napi_remove_async_cleanup_hook(hook);
  }
}

static void on_env_finalized(napi_env env, void *data, void *hint) {
  (void)hint;
  Env *owner = data;
  napi_async_destroy(env, owner->context);
  owner->finalized = true;
  env_release(owner);
}

/* open(domain, type, protocol): a non-blocking socket that child processes do not inherit. */
static napi_value js_open(napi_env env, napi_callback_info info) {
  napi_value args[3];
  int64_t domain, type, protocol;
  Env *owner;
  if (!get_args(env, info, 3, 3, args) || !get_int(env, args[0], "domain", 0, 255, &domain) ||
      !get_int(env, args[1], "type", 0, 15, &type) || !get_int(env, args[2], "protocol", 0, 65535, &protocol))
    return NULL;
  if (domain != AF_INET && domain != AF_INET6 && domain != AF_PACKET && domain != AF_NETLINK)
    return fail_range(env, "domain must be AF_INET, AF_INET6, AF_PACKET or AF_NETLINK");
  CHECK(napi_get_instance_data(env, (void **)&owner));
  int fd = socket((int)domain, (int)type | SOCK_NONBLOCK | SOCK_CLOEXEC, (int)protocol);
  if (fd < 0) return fail_errno(env, "socket", errno, "CAP_NET_RAW");
  Sock *sock = calloc(1, sizeof *sock);
  if (sock == NULL) {
    close(fd);
    return fail_errno(env, "socket", ENOMEM, NULL);
  }
  sock->owner = owner;
  sock->env = env;
  sock->fd = fd;
  sock->domain = (int)domain;
  napi_value object;
  if (napi_create_object(env, &object) != napi_ok || napi_type_tag_object(env, object, &SOCK_TAG) != napi_ok ||
      napi_wrap(env, object, sock, on_sock_collected, NULL, NULL) != napi_ok) {
    close(fd);
    free(sock);
    return fail_napi(env);
  }
  sock->next = owner->open;
  if (owner->open != NULL) owner->open->previous = sock;
  owner->open = sock;
  return object;
}

/* close(socket): closing twice is harmless. */
static napi_value js_close(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!get_args(env, info, 1, 1, args)) return NULL;
  Sock *sock = get_sock(env, args[0]);
  if (sock == NULL) return NULL;
  sock_close(sock);
  return undefined(env);
}

/* release(socket): number. The descriptor now belongs to the caller; the socket counts as closed. */
static napi_value js_release(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!get_args(env, info, 1, 1, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  return sock == NULL ? NULL : number(env, sock_detach(sock));
}

/* descriptor(socket): number. It stays the socket's own. */
static napi_value js_descriptor(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!get_args(env, info, 1, 1, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  return sock == NULL ? NULL : number(env, sock->fd);
}

/* ---- addresses and options ---- */

static napi_value bind_or_connect(napi_env env, napi_callback_info info, bool do_bind) {
  napi_value args[2];
  uint8_t *address;
  size_t length;
  struct sockaddr_storage storage = {0};
  if (!get_args(env, info, 2, 2, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  if (sock == NULL || !get_bytes(env, args[1], "address", sizeof(sa_family_t), ADDRESS_SIZE, &address, &length)) return NULL;
  memcpy(&storage, address, length);
  if (do_bind) {
    if (bind(sock->fd, (struct sockaddr *)&storage, (socklen_t)length) < 0)
      return fail_errno(env, "bind", errno, sock->domain == AF_PACKET ? "CAP_NET_RAW" : "CAP_NET_BIND_SERVICE");
  } else if (connect(sock->fd, (struct sockaddr *)&storage, (socklen_t)length) < 0 && errno != EINPROGRESS) {
    return fail_errno(env, "connect", errno, NULL);
  }
  return undefined(env);
}

/* bind(socket, sockaddr) */
static napi_value js_bind(napi_env env, napi_callback_info info) { return bind_or_connect(env, info, true); }

/* connect(socket, sockaddr): returns at once, also when a TCP handshake is under way. */
static napi_value js_connect(napi_env env, napi_callback_info info) { return bind_or_connect(env, info, false); }

/* localAddress(socket): the sockaddr that it is bound to. */
static napi_value js_local_address(napi_env env, napi_callback_info info) {
  napi_value args[1], buffer, array;
  struct sockaddr_storage storage = {0};
  socklen_t length = sizeof storage;
  void *data;
  if (!get_args(env, info, 1, 1, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  if (sock == NULL) return NULL;
  if (getsockname(sock->fd, (struct sockaddr *)&storage, &length) < 0) return fail_errno(env, "getsockname", errno, NULL);
  if (length > sizeof storage) length = sizeof storage;
  CHECK(napi_create_arraybuffer(env, length, &data, &buffer));
  memcpy(data, &storage, length);
  CHECK(napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &array));
  return array;
}

static const char *capability_for_option(int64_t level, int64_t name) {
  return level == SOL_SOCKET && name == SO_BINDTODEVICE ? "CAP_NET_RAW" : "CAP_NET_ADMIN";
}

/* setOption(socket | descriptor, level, name, value: int32 | Uint8Array) */
static napi_value js_set_option(napi_env env, napi_callback_info info) {
  napi_value args[4];
  int fd;
  int64_t level, name, whole;
  int value;
  uint8_t *bytes;
  size_t length;
  napi_valuetype type;
  if (!get_args(env, info, 4, 4, args) || !get_fd(env, args[0], &fd) ||
      !get_int(env, args[1], "level", 0, INT32_MAX, &level) || !get_int(env, args[2], "name", 0, INT32_MAX, &name))
    return NULL;
  /* Its value is a pointer; attachFilter() is the safe way. */
  if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_ATTACH_REUSEPORT_CBPF))
    return fail_range(env, "filters are set with attachFilter");
  CHECK(napi_typeof(env, args[3], &type));
  if (type == napi_number) {
    if (!get_int(env, args[3], "value", INT32_MIN, INT32_MAX, &whole)) return NULL;
    value = (int)whole;
    bytes = (uint8_t *)&value;
    length = sizeof value;
  } else if (!get_bytes(env, args[3], "value", 0, OPTION_MAX, &bytes, &length)) {
    return NULL;
  }
  if (setsockopt(fd, (int)level, (int)name, bytes, (socklen_t)length) < 0)
    return fail_errno(env, "setsockopt", errno, capability_for_option(level, name));
  return undefined(env);
}

/* getOption(socket | descriptor, level, name): the int that the kernel gives. */
static napi_value js_get_option(napi_env env, napi_callback_info info) {
  napi_value args[3];
  int fd;
  int64_t level, name;
  int value = 0;
  socklen_t length = sizeof value;
  if (!get_args(env, info, 3, 3, args) || !get_fd(env, args[0], &fd) ||
      !get_int(env, args[1], "level", 0, INT32_MAX, &level) || !get_int(env, args[2], "name", 0, INT32_MAX, &name))
    return NULL;
  if (getsockopt(fd, (int)level, (int)name, &value, &length) < 0)
    return fail_errno(env, "getsockopt", errno, capability_for_option(level, name));
  return number(env, value);
}

/* attachFilter(socket | descriptor, program): a classic BPF program, 8 bytes per instruction (struct sock_filter). */
static napi_value js_attach_filter(napi_env env, napi_callback_info info) {
  napi_value args[2];
  int fd;
  uint8_t *bytes;
  size_t length;
  if (!get_args(env, info, 2, 2, args) || !get_fd(env, args[0], &fd) ||
      !get_bytes(env, args[1], "program", sizeof(struct sock_filter), FILTER_MAX * sizeof(struct sock_filter), &bytes, &length))
    return NULL;
  if (length % sizeof(struct sock_filter) != 0) return fail_range(env, "program must be a multiple of 8 bytes");
  struct sock_filter *copy = malloc(length); /* for the alignment */
  if (copy == NULL) return fail_errno(env, "setsockopt", ENOMEM, NULL);
  memcpy(copy, bytes, length);
  struct sock_fprog program = {.len = (unsigned short)(length / sizeof *copy), .filter = copy};
  int result = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  int error = errno;
  free(copy);
  return result < 0 ? fail_errno(env, "setsockopt", error, "CAP_NET_ADMIN") : undefined(env);
}

/* ---- receiving ---- */

static void read_control(Sock *sock, struct msghdr *message, int32_t *meta) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
      memcpy(&meta[3], CMSG_DATA(c), sizeof(int32_t));
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
      memcpy(&meta[3], CMSG_DATA(c), sizeof(int32_t));
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo packet;
      memcpy(&packet, CMSG_DATA(c), sizeof packet);
      meta[2] = packet.ipi_ifindex;
      memcpy(&meta[11], &packet.ipi_addr, sizeof packet.ipi_addr);
      meta[15] = AF_INET;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo packet;
      memcpy(&packet, CMSG_DATA(c), sizeof packet);
      meta[2] = (int32_t)packet.ipi6_ifindex;
      memcpy(&meta[11], &packet.ipi6_addr, sizeof packet.ipi6_addr);
      meta[15] = AF_INET6;
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      memcpy(&sock->dropped_by_queue, CMSG_DATA(c), sizeof sock->dropped_by_queue);
    }
  }
}

/*
 * One batch into the ring. Returns the number of messages, 0 when there is nothing, a negative errno on failure. The buffers are
 * looked up anew each time: between two batches JavaScript may have detached or shrunk them.
 */
static int receive_batch(Sock *sock, napi_env env) {
  napi_value ring_value, meta_value;
  napi_typedarray_type type;
  size_t ring_length = 0, meta_length = 0;
  void *ring = NULL, *meta_start = NULL;
  if (napi_get_reference_value(env, sock->ring, &ring_value) != napi_ok ||
      napi_get_reference_value(env, sock->meta, &meta_value) != napi_ok ||
      napi_get_typedarray_info(env, ring_value, &type, &ring_length, &ring, NULL, NULL) != napi_ok ||
      napi_get_typedarray_info(env, meta_value, &type, &meta_length, &meta_start, NULL, NULL) != napi_ok)
    return -EFAULT;
  size_t slots = ring_length / sock->slot_size;
  if (slots > meta_length / META_INTS) slots = meta_length / META_INTS;
  if (slots > SLOTS_MAX) slots = SLOTS_MAX;
  if (ring == NULL || meta_start == NULL || slots == 0) return -EFAULT;

  struct mmsghdr messages[SLOTS_MAX];
  struct iovec vectors[SLOTS_MAX];
  uint8_t addresses[SLOTS_MAX][ADDRESS_SIZE];
  _Alignas(struct cmsghdr) uint8_t control[SLOTS_MAX][CONTROL_SIZE];
  memset(addresses, 0, slots * ADDRESS_SIZE);
  for (size_t i = 0; i < slots; i++) {
    vectors[i] = (struct iovec){(uint8_t *)ring + i * sock->slot_size, sock->slot_size};
    messages[i].msg_hdr = (struct msghdr){
        .msg_name = addresses[i],
        .msg_namelen = ADDRESS_SIZE,
        .msg_iov = &vectors[i],
        .msg_iovlen = 1,
        .msg_control = control[i],
        .msg_controllen = CONTROL_SIZE,
    };
    messages[i].msg_len = 0;
  }
  int count = recvmmsg(sock->fd, messages, (unsigned)slots, MSG_DONTWAIT, NULL);
  if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  for (int i = 0; i < count; i++) {
    int32_t meta[META_INTS] = {0};
    meta[0] = (int32_t)messages[i].msg_len;
    meta[1] = messages[i].msg_hdr.msg_flags;
    meta[3] = -1;
    memcpy(&meta[4], addresses[i], ADDRESS_SIZE);
    read_control(sock, &messages[i].msg_hdr, meta);
    memcpy((int32_t *)meta_start + (size_t)i * META_INTS, meta, sizeof meta);
  }
  sock->received += count;
  return count;
}

/* False when the environment cannot run JavaScript any more. */
static bool tell(Sock *sock, napi_env env, int count) {
  napi_value callback, receiver, argument, result;
  if (napi_get_reference_value(env, sock->callback, &callback) != napi_ok || napi_get_global(env, &receiver) != napi_ok ||
      napi_create_int32(env, count, &argument) != napi_ok)
    return false;
  napi_status status = napi_make_callback(env, sock->owner->context, receiver, callback, 1, &argument, &result);
  if (status == napi_ok) return true;
  if (status != napi_pending_exception) return false;
  napi_value error;
  if (napi_get_and_clear_last_exception(env, &error) != napi_ok) return false;
  return napi_fatal_exception(env, error) == napi_ok; /* as any exception of a callback: 'uncaughtException' */
}

static void on_readable(uv_poll *poll, int status, int events) {
  (void)events;
  Sock *sock = uv_handle_get_data(poll);
  napi_env env = sock->env;
  napi_handle_scope scope;
  napi_value self;
  /* libuv stops polling on POLLERR. Here that is ordinary (interface down, netlink overrun); reading fetches and clears the error. */
  if (status < 0 && uv_poll_start(poll, UV_READABLE_EVENT, on_readable) < 0) return;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_reference_value(env, sock->self, &self) == napi_ok) { /* keeps sock alive in this scope, should the callback close it */
    for (uint32_t batch = 0; batch < sock->batches_max; batch++) {
      int count = receive_batch(sock, env);
      if (count == 0) break;
      if (count < 0) sock->receive_errors++;
      if (!tell(sock, env, count) || sock->fd < 0 || count < 0) break;
    }
  }
  napi_close_handle_scope(env, scope);
}

/*
 * receive(socket, ring, slotSize, meta, batchesMax, callback): calls back with the number of messages that lie in the ring, or
 * with a negative errno. At most batchesMax batches per turn of the loop, so that a flood does not starve timers.
 */
static napi_value js_receive(napi_env env, napi_callback_info info) {
  napi_value args[6];
  uint8_t *ring;
  void *meta;
  size_t ring_length, meta_length;
  int64_t slot_size, batches_max;
  napi_valuetype type;
  if (!get_args(env, info, 6, 6, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  if (sock == NULL || !get_bytes(env, args[1], "ring", 1, 1 << 26, &ring, &ring_length) ||
      !get_int(env, args[2], "slotSize", 1, 1 << 20, &slot_size) ||
      !get_typed(env, args[3], "meta", napi_int32_array, "Int32Array", &meta, &meta_length) ||
      !get_int(env, args[4], "batchesMax", 1, 1024, &batches_max))
    return NULL;
  CHECK(napi_typeof(env, args[5], &type));
  if (type != napi_function) return fail_type(env, "callback must be a function");
  if (ring_length < (size_t)slot_size) return fail_range(env, "ring must hold at least one slot");
  if (meta_length < META_INTS) return fail_range(env, "meta must hold at least 16 numbers");
  if (sock->poll != NULL) {
    napi_throw_error(env, "ERR_SOCKET_RECEIVES", "the socket is received from already");
    return NULL;
  }
  uv_poll *poll = calloc(1, uv_handle_size(UV_POLL_TYPE));
  if (poll == NULL) return fail_errno(env, "uv_poll_init", ENOMEM, NULL);
  int result = uv_poll_init(sock->owner->loop, poll, sock->fd);
  if (result < 0) {
    free(poll);
    return fail_errno(env, "uv_poll_init", -result, NULL);
  }
  uv_handle_set_data(poll, sock);
  sock->poll = poll;
  sock->slot_size = (uint32_t)slot_size;
  sock->batches_max = (uint32_t)batches_max;
  if (napi_create_reference(env, args[0], 1, &sock->self) != napi_ok ||
      napi_create_reference(env, args[1], 1, &sock->ring) != napi_ok ||
      napi_create_reference(env, args[3], 1, &sock->meta) != napi_ok ||
      napi_create_reference(env, args[5], 1, &sock->callback) != napi_ok) {
    sock_close(sock);
    return fail_napi(env);
  }
  result = uv_poll_start(poll, UV_READABLE_EVENT, on_readable);
  if (result < 0) {
    sock_close(sock);
    return fail_errno(env, "uv_poll_start", -result, NULL);
  }
  return undefined(env);
}

/* ---- sending ---- */

static void count_send_error(Sock *sock, int error) {
  sock->send_errors++;
  sock->send_errno = error;
}

/* send(socket, bytes, sockaddr?): at once or not at all; false when the kernel refused, which is counted. */
static napi_value js_send(napi_env env, napi_callback_info info) {
  napi_value args[3];
  uint8_t *bytes, *address = NULL;
  size_t length, address_length = 0;
  struct sockaddr_storage storage = {0};
  if (!get_args(env, info, 2, 3, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  if (sock == NULL || !get_bytes(env, args[1], "bytes", 0, 1 << 20, &bytes, &length)) return NULL;
  if (!is_missing(env, args[2])) {
    if (!get_bytes(env, args[2], "address", sizeof(sa_family_t), ADDRESS_SIZE, &address, &address_length)) return NULL;
    memcpy(&storage, address, address_length);
  }
  ssize_t sent = sendto(sock->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                        address == NULL ? NULL : (struct sockaddr *)&storage, (socklen_t)address_length);
  if (sent < 0) count_send_error(sock, errno);
  else sock->sent++;
  return boolean(env, sent >= 0);
}

/*
 * sendBatch(socket, bytes, ends: Uint32Array, addresses?): messages one behind the other, ends[i] being where the i-th ends;
 * addresses holds 28 bytes for each. Returns how many the kernel took; one that it refuses does not hold up the others, but a
 * full queue ends the batch.
 */
static napi_value js_send_batch(napi_env env, napi_callback_info info) {
  napi_value args[4];
  uint8_t *bytes, *addresses = NULL;
  void *ends_start;
  size_t length, count, addresses_length = 0;
  if (!get_args(env, info, 3, 4, args)) return NULL;
  Sock *sock = get_open_sock(env, args[0]);
  if (sock == NULL || !get_bytes(env, args[1], "bytes", 0, 1 << 26, &bytes, &length) ||
      !get_typed(env, args[2], "ends", napi_uint32_array, "Uint32Array", &ends_start, &count))
    return NULL;
  if (count > SEND_BATCH_MAX) return fail_range(env, "ends must hold at most 4096 numbers");
  const uint32_t *ends = ends_start;
  for (size_t i = 0; i < count; i++) {
    if (ends[i] > length || (i > 0 && ends[i] < ends[i - 1])) return fail_range(env, "ends must ascend within bytes");
  }
  if (!is_missing(env, args[3])) {
    if (!get_bytes(env, args[3], "addresses", 0, SEND_BATCH_MAX * ADDRESS_SIZE, &addresses, &addresses_length)) return NULL;
    if (addresses_length != count * ADDRESS_SIZE) return fail_range(env, "addresses must hold 28 bytes for each message");
  }
  struct mmsghdr messages[SLOTS_MAX];
  struct iovec vectors[SLOTS_MAX];
  size_t next = 0;
  double taken = 0;
  while (next < count) {
    size_t chunk = count - next < SLOTS_MAX ? count - next : SLOTS_MAX;
    for (size_t i = 0; i < chunk; i++) {
      size_t index = next + i;
      uint32_t start = index == 0 ? 0 : ends[index - 1];
      vectors[i] = (struct iovec){bytes + start, ends[index] - start};
      messages[i].msg_len = 0;
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
      if (addresses != NULL) {
        messages[i].msg_hdr.msg_name = addresses + index * ADDRESS_SIZE;
        messages[i].msg_hdr.msg_namelen = ADDRESS_SIZE;
      }
    }
    int sent = sendmmsg(sock->fd, messages, (unsigned)chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      taken += sent;
      next += (size_t)sent;
      continue;
    }
    int error = errno;
    count_send_error(sock, error);
    next++;
    if (error == EAGAIN || error == ENOBUFS || error == ENETDOWN) {
      sock->send_errors += (double)(count - next);
      break;
    }
  }
  sock->sent += taken;
  return number(env, taken);
}

/* ---- the rest ---- */

/* stats(socket): [received, dropped by the kernel, sent, send errors, errno of the last of them, receive errors]; also once closed. */
static napi_value js_stats(napi_env env, napi_callback_info info) {
  napi_value args[1], array;
  if (!get_args(env, info, 1, 1, args)) return NULL;
  Sock *sock = get_sock(env, args[0]);
  if (sock == NULL) return NULL;
  struct tpacket_stats kernel = {0};
  socklen_t length = sizeof kernel;
  if (sock->fd >= 0 && sock->domain == AF_PACKET &&
      getsockopt(sock->fd, SOL_PACKET, PACKET_STATISTICS, &kernel, &length) == 0)
    sock->dropped_by_packet_socket += kernel.tp_drops; /* reading resets the kernel's count */
  const double values[] = {sock->received,    sock->dropped_by_packet_socket + sock->dropped_by_queue,
                           sock->sent,        sock->send_errors,
                           sock->send_errno,  sock->receive_errors};
  CHECK(napi_create_array_with_length(env, sizeof values / sizeof *values, &array));
  for (uint32_t i = 0; i < sizeof values / sizeof *values; i++) CHECK(napi_set_element(env, array, i, number(env, values[i])));
  return array;
}

/* setScheduler(policy, priority): for the calling thread. Returns '' or the name of the error. */
static napi_value js_set_scheduler(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  int64_t policy, priority;
  char code[32] = "";
  if (!get_args(env, info, 2, 2, args) || !get_int(env, args[0], "policy", 0, INT32_MAX, &policy) ||
      !get_int(env, args[1], "priority", 0, 99, &priority))
    return NULL;
  int param = (int)priority; /* struct sched_param of the kernel; musl's function of that name refuses always */
  if (syscall(SYS_sched_setscheduler, 0, (int)policy, &param) < 0) uv_err_name_r(-errno, code, sizeof code);
  CHECK(napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &result));
  return result;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback function;
  } FUNCTIONS[] = {
      {"open", js_open},
      {"close", js_close},
      {"release", js_release},
      {"descriptor", js_descriptor},
      {"bind", js_bind},
      {"connect", js_connect},
      {"localAddress", js_local_address},
      {"setOption", js_set_option},
      {"getOption", js_get_option},
      {"attachFilter", js_attach_filter},
      {"receive", js_receive},
      {"send", js_send},
      {"sendBatch", js_send_batch},
      {"stats", js_stats},
      {"setScheduler", js_set_scheduler},
  };
  const char *type_name = uv_handle_type_name(UV_POLL_TYPE);
  if (type_name == NULL || strcmp(type_name, "poll") != 0) {
    napi_throw_error(env, "ERR_NATIVE", "this Node.js has a libuv whose handle types are numbered otherwise");
    return NULL;
  }
  Env *owner = calloc(1, sizeof *owner);
  if (owner == NULL) return fail_errno(env, "calloc", ENOMEM, NULL);
  struct uv_loop_s *loop = NULL;
  napi_value name, function;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok ||
      napi_create_string_utf8(env, "LODESTONE_SOCKET", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, NULL, name, &owner->context) != napi_ok ||
      napi_set_instance_data(env, owner, on_env_finalized, NULL) != napi_ok) {
    free(owner);
    return fail_napi(env);
  }
  owner->loop = loop;
  CHECK(napi_add_async_cleanup_hook(env, on_env_cleanup, owner, &owner->hook));
  for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
    CHECK(napi_create_function(env, FUNCTIONS[i].name, NAPI_AUTO_LENGTH, FUNCTIONS[i].function, NULL, &function));
    CHECK(napi_set_named_property(env, exports, FUNCTIONS[i].name, function));
  }
  return exports;
}
