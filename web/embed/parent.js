// The embedding page's side of sallyport-embed/1.
const PROTOCOL = "sallyport-embed/1";
const AGAIN = /^(FRAME_REFUSED|HANDSHAKE_TIMEOUT|GET_TOKEN_\w+|JWT_EXPIRED|JWT_NOT_YET|JWT_REPLAYED|RATE_LIMITED|BUSY|\w*UNAVAILABLE)$/;

class EmbedError extends Error {
  constructor(code, message, traceId) {
    super(message);
    this.name = "EmbedError";
    this.code = code;
    this.traceId = traceId;
    this.retryable = AGAIN.test(code);
  }
}

// mount makes the iframe, puts it into the container and attaches to it.
function mount({ container, url, to, ...options }) {
  const address = new URL(url, location.href);
  for (const [name, value] of Object.entries({ application: options.application, embedder: options.embedder, to })) {
    if (value) address.searchParams.set(name, value);
  }
  const iframe = document.createElement("iframe");
  iframe.title = options.title ?? options.application;
  iframe.src = address.href;
  const attached = attach(iframe, options);
  container.append(iframe);
  return attached.then((handle) => ({
    __proto__: handle,
    destroy() { handle.destroy(); iframe.remove(); },
  }));
}

// attach speaks to the iframe until the first sign-in fails, or else until the handle's destroy is called. The promise
// settles with the first sign-in.
function attach(iframe, { application, getToken, title, on = {}, timeoutMs = 10000 }) {
  const address = iframe.src;
  const { origin } = new URL(address, location.href);
  const listeners = Object.entries(on);
  let hid, port, last, settle, leaving, timer;
  if (title) iframe.title = title;

  const emit = (type, event) => {
    for (const [name, listener] of [...listeners]) if (name === type) listener({ type, ...event });
  };
  // fail tells the page around: whoever waits for the first sign-in or a sign-out, and every listener.
  const fail = (code, message, traceId) => {
    const error = new EmbedError(code, message, traceId);
    clearTimeout(timer);
    settle.reject(error);
    leaving?.reject(error);
    leaving = undefined;
    emit("error", { error });
  };
  const refuse = () => fail("FRAME_REFUSED", `no word from ${origin} in ${timeoutMs} ms: compare frame-ancestors there with ` +
    `${location.origin}, this page's own frame-src, the iframe's address and its sandbox`);
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(refuse, timeoutMs);
  };

  const token = async ({ id, reason, challenge }) => {
    if (leaving) return { type: "logout", reason: "parent" };
    const stop = new AbortController();
    const failed = (code, message) => ({ type: "error", code, message });
    let late;
    const slow = new Promise((resolve) => {
      late = setTimeout(() => {
        resolve(failed("GET_TOKEN_TIMEOUT", "getToken took more than 15 s"));
        stop.abort();
      }, 15000);
    });
    const got = (async () => {
      try {
        const made = await getToken({ reason, challenge, application, signal: stop.signal });
        const jwt = made?.jwt ?? made;
        if (typeof jwt === "string") return { type: "handoff", id, jwt };
        return failed("GET_TOKEN_FAILED", "getToken gave neither a token nor {jwt}");
      } catch (cause) {
        return failed("GET_TOKEN_FAILED", `getToken: ${cause?.message ?? cause}`);
      }
    })();
    return Promise.race([got, slow]).finally(() => clearTimeout(late));
  };

  const hear = async (from, message) => {
    clearTimeout(timer);
    switch (message?.type) {
      case "token.request": {
        const answer = await token(message);
        if (from !== port) break; // another document asks by now
        from.postMessage(answer);
        if (answer.type === "error") fail(answer.code, answer.message);
        break;
      }
      case "ready":
        last = { mode: message.mode, user: message.user };
        settle.resolve(handle);
        emit("ready", message);
        break;
      case "error":
        fail(String(message.code), String(message.message), message.trace_id);
        break;
      case "ended":
        leaving?.resolve();
        leaving = undefined;
        emit("ended", message);
    }
  };

  // A new document in the frame begins anew, on a port of its own.
  const meet = ({ data, origin: from, source }) => {
    if (source !== iframe.contentWindow || from !== origin) return;
    if (typeof data?.protocol !== "string" || !data.protocol.startsWith("sallyport-embed/")) return;
    if (data.protocol !== PROTOCOL) return fail("VERSION", `this page speaks ${PROTOCOL}, the frame ${data.protocol}`);
    if (data.type !== "hello" || typeof data.hid !== "string" || data.hid === hid) return;
    hid = data.hid;
    port?.close();
    const channel = new MessageChannel();
    const own = port = channel.port1;
    own.onmessage = (event) => hear(own, event.data);
    source.postMessage({ protocol: PROTOCOL, type: "port", hid }, origin, [channel.port2]);
  };
  const ping = () => {
    if (!hid) iframe.contentWindow?.postMessage({ protocol: PROTOCOL, type: "ping" }, origin);
  };

  const handle = {
    iframe,
    get mode() { return last?.mode; },
    get user() { return last?.user; },
    // The framed application's own pages do not speak this protocol, so the frame goes back to the page that does.
    logout: () => new Promise((resolve, reject) => {
      leaving = { resolve, reject };
      wait();
      iframe.src = address;
    }),
    on(type, listener) {
      const entry = [type, listener];
      listeners.push(entry);
      return () => { listeners.splice(listeners.indexOf(entry), 1); };
    },
    destroy() {
      clearTimeout(timer);
      removeEventListener("message", meet);
      iframe.removeEventListener("load", ping);
      port?.close();
      port = undefined;
    },
  };

  const first = new Promise((resolve, reject) => { settle = { resolve, reject }; });
  first.catch(() => handle.destroy()); // nobody has the handle
  addEventListener("message", meet);
  iframe.addEventListener("load", ping);
  const sandbox = iframe.getAttribute("sandbox");
  if (sandbox !== null && !["allow-scripts", "allow-same-origin"].every((word) => iframe.sandbox.contains(word))) {
    fail("SANDBOXED", 'the iframe\'s sandbox attribute must have "allow-scripts allow-same-origin allow-forms", or go');
  } else {
    wait();
    // A frame that has not begun yet is an empty page of ours, which has nothing to answer.
    if (iframe.isConnected && iframe.contentDocument?.URL !== "about:blank") ping();
  }
  return first;
}

export { EmbedError, attach, mount };
