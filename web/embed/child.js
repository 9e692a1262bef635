// The framed side of sallyport-embed/1. What it knows lives in this document's memory and nowhere else.
(() => {
  "use strict";
  const PROTOCOL = "sallyport-embed/1";
  const AGAIN = /^(HANDSHAKE_TIMEOUT|GET_TOKEN_\w+|JWT_EXPIRED|JWT_NOT_YET|JWT_REPLAYED|RATE_LIMITED|BUSY|\w*UNAVAILABLE)$/;
  const settings = JSON.parse(document.getElementById("sallyport-embed").textContent);
  const page = new URLSearchParams({ application: settings.application });

  class EmbedError extends Error {
    constructor(code, message, traceId) {
      super(message);
      this.name = "EmbedError";
      this.code = code;
      this.traceId = traceId;
      this.retryable = AGAIN.test(code);
    }
  }

  // One of the two panels, or none. The page may still be on its way when the first call comes.
  const show = (id, trace) => {
    const now = () => {
      for (const panel of ["failed", "ended"]) document.getElementById(panel).hidden = panel !== id;
      if (trace) document.getElementById("trace").textContent = trace;
    };
    document.body ? now() : addEventListener("DOMContentLoaded", now);
  };

  const listeners = [];
  let tell = () => {}; // the port, once there is one
  let settle;
  const ready = new Promise((resolve, reject) => { settle = { resolve, reject }; });
  ready.catch(() => {}); // who does not ask is told by the page and the console

  // fail says it everywhere: to people, to the console, to whoever waits, to the page around unless it said so itself.
  const fail = (error, heard) => {
    if (!(error instanceof EmbedError)) error = new EmbedError("FAILED", String(error));
    console.error(`sallyport: ${error.code}: ${error.message}`, error.traceId ?? "");
    show("failed", error.traceId);
    if (!heard) tell({ type: "error", code: error.code, message: error.message, trace_id: error.traceId });
    settle.reject(error);
    return error;
  };
  const told = (work) => work.catch((error) => { throw fail(error); });

  const call = async (method, path, body) => {
    let answer;
    try {
      answer = await fetch(`${path}?${page}`, {
        method, credentials: "same-origin", cache: "no-store", redirect: "error", signal: AbortSignal.timeout(15000),
        ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
      });
    } catch (cause) {
      throw new EmbedError("UNAVAILABLE", `${location.origin} did not answer: ${cause.message}`);
    }
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return said;
    const more = answer.headers.get("X-Error-Debug");
    throw new EmbedError((said.code ?? `HTTP_${answer.status}`).toUpperCase(),
      (said.detail ?? `${location.origin} answered ${answer.status}`) + (more ? ` [${decodeURIComponent(more)}]` : ""), said.trace_id);
  };

  // signIn hands the token over and looks whether the browser kept the cookie. The verifier shows that the token, where it
  // names a challenge, was made for this document.
  const signIn = async (jwt, origin, verifier) => {
    const { user } = await call("POST", "session", { jwt, origin, verifier, embedder: settings.embedder });
    let kept, trace;
    try {
      kept = await call("GET", "session");
    } catch (error) {
      if (error.code !== "NO_SESSION") throw error;
      trace = error.traceId;
    }
    if (kept?.user.sub !== user.sub) {
      throw new EmbedError("COOKIE_BLOCKED", `The browser refused the cookie of ${location.origin} in a page of ${origin}. ` +
        "Where the two are different sites, the embedder needs relation: cross_site, and both need HTTPS; a browser that " +
        "refuses partitioned cookies too must allow third-party cookies for this site. Or serve both under one site.", trace);
    }
    const result = { mode: "cookie", user, expires_in: kept.expires_in };
    show();
    settle.resolve(result);
    return result;
  };

  const end = async (reason) => {
    await call("POST", "logout");
    show("ended");
    tell({ type: "ended", reason });
    for (const listener of listeners) listener({ type: "ended", reason });
  };

  const api = {
    ready,
    // setJWTToken is for pages of this very origin: the browser lets nobody else call it.
    setJWTToken: (token) => told(signIn(token, location.origin).then(() => {})),
    logout: () => told(end("child")),
    on: (type, listener) => {
      const own = (event) => event.type === type && listener(event);
      listeners.push(own);
      return () => { listeners.splice(listeners.indexOf(own), 1); };
    },
  };
  window.SallyportEmbedded = api;
  window.setJWTToken = api.setJWTToken;
  for (const name of settings.globals) window[name] = api;

  if (window.origin === "null") {
    fail(new EmbedError("SANDBOXED",
      'the iframe\'s sandbox attribute must have "allow-scripts allow-same-origin allow-forms", or go'));
    return;
  }
  if (window.parent === window) return; // nobody around to ask

  const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  const random = (n) => base64url(crypto.getRandomValues(new Uint8Array(n)));

  // targets are the origins that a hello goes to: the one around where the browser says it, else each that is listed.
  const targets = () => {
    const ancestors = location.ancestorOrigins;
    if (ancestors?.length) {
      if (settings.origins.includes(ancestors[0])) return [ancestors[0]];
      throw new EmbedError("ORIGIN_NOT_ALLOWED", `${ancestors[0]} is not an origin of an embedder of ` +
        `${settings.application}: compare scheme, host and port`);
    }
    const referrer = URL.canParse(document.referrer) ? new URL(document.referrer).origin : "";
    return settings.origins.includes(referrer) ? [referrer] : settings.origins;
  };

  const speak = async () => {
    const origins = targets();
    if (!crypto.subtle) {
      if (origins.includes(location.origin)) return; // setJWTToken works without
      throw new EmbedError("HTTPS_REQUIRED", `${location.origin} must be HTTPS (or localhost)`);
    }
    const hid = random(16);
    const verifier = random(32);
    const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
    let port;
    const hello = () => {
      for (const origin of origins) {
        window.parent.postMessage({ protocol: PROTOCOL, type: "hello", hid, app: settings.application, challenge }, origin);
      }
    };
    const every = setInterval(hello, 250);
    const late = setTimeout(() => {
      clearInterval(every);
      if (origins.includes(location.origin)) return; // a page of this origin may call setJWTToken whenever it likes
      fail(new EmbedError("HANDSHAKE_TIMEOUT", `the page of ${origins.join(" or ")} does not answer: is parent.js loaded, ` +
        "and attach or mount called?"));
    }, 10000);

    const take = (opened, origin) => {
      clearInterval(every);
      clearTimeout(late);
      show();
      port = opened;
      tell = (message) => port.postMessage(message);
      let asked = random(16);
      port.onmessage = async ({ data }) => {
        try {
          if (data?.type === "handoff" && data.id === asked && typeof data.jwt === "string") {
            asked = undefined; // one token, once
            tell({ type: "ready", ...await signIn(data.jwt, origin, verifier) });
            location.replace(settings.to);
          } else if (data?.type === "error") {
            fail(new EmbedError(String(data.code), String(data.message)), true);
          } else if (data?.type === "logout") {
            await end(String(data.reason));
          }
        } catch (error) {
          fail(error);
        }
      };
      tell({ type: "token.request", id: asked, reason: "initial", challenge });
    };

    addEventListener("message", ({ data, origin, source, ports }) => {
      if (port || source !== window.parent || !settings.origins.includes(origin)) return;
      if (typeof data?.protocol !== "string" || !data.protocol.startsWith("sallyport-embed/")) return;
      if (data.protocol !== PROTOCOL) fail(new EmbedError("VERSION", `this page speaks ${PROTOCOL}, not ${data.protocol}`));
      else if (data.type === "ping") hello();
      else if (data.type === "port" && data.hid === hid && ports.length === 1) take(ports[0], origin);
    });
    hello();
  };
  speak().catch(fail);
})();
