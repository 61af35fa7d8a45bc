/* The smallest container there can be, for scripts/prove-containers: FROM scratch, one static program.
   Its first argument says what it does; `train` and `serve` are what SageMaker says. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *read_file(const char *path) {
  static char text[65536];
  int file = open(path, O_RDONLY);
  if (file < 0) return NULL;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size < 0 ? 0 : size] = 0;
  return text;
}

static int write_file(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return -1;
  ssize_t done = write(file, text, strlen(text));
  close(file);
  return done == (ssize_t)strlen(text) ? 0 : -1;
}

/* "path: ok" or why it cannot be written. */
static void try_write(const char *path) {
  printf("write %s: %s\n", path, write_file(path, "x") == 0 ? "ok" : strerror(errno));
}

static void try_connect(const char *address, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, address, &to.sin_addr);
  int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int done = connect(s, (struct sockaddr *)&to, sizeof to);
  printf("connect %s: %s\n", address, done == 0 || errno == EINPROGRESS ? "ok" : strerror(errno));
  close(s);
}

static void look(void) {
  printf("user %d:%d\n", getuid(), getgid());
  const char *status = read_file("/proc/self/status");
  for (const char *line = status; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
    if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapBnd:", 7) || !strncmp(line, "NoNewPrivs:", 11) ||
        !strncmp(line, "Seccomp:", 8))
      printf("%.*s\n", (int)strcspn(line, "\n"), line);
  try_write("/here");
  try_write("/tmp/here");
  try_write("/opt/ml/here");
  try_write("/opt/ml/model/here");
  try_write("/opt/ml/input/here");
  try_write("/opt/ml/processing/input/here");
  try_write("/opt/ml/processing/output/output/here");
  try_write("/opt/ml/output/here");
  try_connect("127.0.0.1", 22);
  try_connect("192.0.2.1", 80);
  char host[64] = "";
  gethostname(host, sizeof host);
  printf("host %s\n", host);
  printf("variable %s\n", getenv("TOY") ? getenv("TOY") : "none");
}

static volatile sig_atomic_t stopping;
static void stop(int signal) { (void)signal; stopping = 1; }

static void answer(int s, const char *status, const char *body) {
  char text[70000];
  int size = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                      "Connection: close\r\n\r\n%s", status, strlen(body), body);
  for (int sent = 0; sent < size;) {
    ssize_t n = write(s, text + sent, size - sent);
    if (n <= 0) break;
    sent += n;
  }
}

/* One request at a time; the answer is the model's text and the body. A body "slow" takes half a second. */
static int serve(void) {
  struct sigaction on = {.sa_handler = getenv("STUBBORN") ? SIG_IGN : stop};
  sigaction(SIGTERM, &on, NULL);
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = INADDR_ANY};
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) return perror("bind"), 1;
  char model[4096] = "";
  if (read_file("/opt/ml/model/model.txt")) snprintf(model, sizeof model, "%s", read_file("/opt/ml/model/model.txt"));
  puts("serving");
  fflush(stdout);
  while (!stopping) {
    int s = accept(listener, NULL, NULL);
    if (s < 0) continue;
    char request[65536];
    size_t have = 0, length = 0;
    char *body = NULL;
    while (have < sizeof request - 1) {
      ssize_t n = read(s, request + have, sizeof request - 1 - have);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      request[have += n] = 0;
      if (!body && (body = strstr(request, "\r\n\r\n"))) {
        body += 4;
        for (char *h = request; (h = strchr(h, '\n')) && h < body;)
          if (!strncasecmp(++h, "content-length:", 15)) length = atoi(h + 15);
      }
      if (body && have - (body - request) >= length) break;
    }
    if (body && !strncmp(request, "GET /ping", 9)) answer(s, "200 OK", "");
    else if (body && !strncmp(request, "POST /invocations", 17)) {
      if (!strcmp(body, "slow")) {
        struct timespec half = {0, 500000000};
        while (nanosleep(&half, &half)) {}
      }
      char text[66000];
      snprintf(text, sizeof text, "%s:%s", model, body);
      answer(s, "200 OK", text);
    } else answer(s, "404 Not Found", "");
    close(s);
  }
  puts("stopped");
  return 0;
}

int main(int count, char **arguments) {
  const char *what = count > 1 ? arguments[1] : "nothing";
  signal(SIGPIPE, SIG_IGN);
  if (!strcmp(what, "serve")) {
    if (getenv("BROKEN")) return fputs("no model that I know\n", stderr), 3;
    return serve();
  }
  if (!strcmp(what, "train")) {
    const char *parameters = read_file("/opt/ml/input/config/hyperparameters.json");
    if (!parameters) return fputs("no hyperparameters\n", stderr), 9;
    if (strstr(parameters, "\"fail\"")) {
      write_file("/opt/ml/output/failure", "the rows are not what I expected");
      fputs("failing\n", stderr);
      return 4;
    }
    char kept[65536];
    snprintf(kept, sizeof kept, "%s", parameters);
    printf("rows: %s", read_file("/opt/ml/input/data/train/rows.csv"));
    return write_file("/opt/ml/model/model.txt", kept) ? 9 : 0;
  }
  if (!strcmp(what, "look")) return look(), fflush(stdout), 0;
  if (!strcmp(what, "process")) {
    write_file("/opt/ml/processing/output/output/rows.csv", read_file("/opt/ml/processing/input/data/rows.csv"));
    return write_file("/opt/ml/output/message", "all rows kept");
  }
  if (!strcmp(what, "sleep")) return fputs("sleeping\n", stderr), sleep(1000), 0;
  if (!strcmp(what, "polite")) {
    struct sigaction on = {.sa_handler = stop};
    sigaction(SIGTERM, &on, NULL);
    puts("waiting"), fflush(stdout);
    while (!stopping) pause();
    return write_file("/opt/ml/model/saved", "saved"), 0;
  }
  if (!strcmp(what, "eat"))
    for (;;) memset(malloc(1 << 20), 1, 1 << 20);
  if (!strcmp(what, "fork")) {
    for (int i = 0; i < 1000; i++) {
      pid_t child = fork();
      if (child < 0) return perror("fork"), sleep(2), 11;
      if (!child) return sleep(30), 0;
    }
    return 0;
  }
  if (!strcmp(what, "flood")) {
    char line[4096];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (;;) if (write(1, line, sizeof line) < 0) return 1;
  }
  if (!strcmp(what, "count")) {
    for (int i = 0; i < atoi(arguments[2]); i++) printf("line %d\n", i);
    return 0;
  }
  if (!strcmp(what, "crash")) abort();
  if (!strcmp(what, "file")) {
    char block[65536] = "";
    int file = open("/opt/ml/output/large", O_WRONLY | O_CREAT, 0644);
    for (;;) if (write(file, block, sizeof block) < 0) return perror("write"), 12;
  }
  printf("nothing to do: %s\n", what);
  return 7;
}
