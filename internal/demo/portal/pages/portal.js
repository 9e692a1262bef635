// The embedding page's whole share: ask our own backend for a token when the frame wants one, and say how it went.
const frame = document.getElementById("frame");
const state = document.getElementById("state");
const leave = document.getElementById("leave");

function say(text, failed = false) {
  state.textContent = text;
  state.classList.toggle("failed", failed);
}

// tell puts a sentence and the code for whoever has to look into it.
function tell(what, problem) {
  say([what, problem?.message, problem?.code && `(${problem.code})`].filter(Boolean).join(" "), true);
}

async function getToken({ challenge, signal }) {
  const answer = await fetch("/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ challenge }),
    signal,
  });
  if (!answer.ok) {
    throw new Error(`The portal answered ${answer.status}.`);
  }
  const { jwt } = await answer.json();
  return { jwt };
}

function ended(event) {
  leave.disabled = true;
  const reason = event?.reason ?? event?.detail?.reason;
  say(reason ? `Signed out of the frame (${reason}).` : "Signed out of the frame.");
}

async function start() {
  const { sdk, application, embedder } = frame.dataset;
  const { attach } = await import(sdk);
  const handle = await attach(frame, {
    application,
    embedder,
    getToken,
    title: frame.title,
    on: { ended, error: (event) => tell("The frame has a problem.", event?.error ?? event) },
  });
  say(`Signed in as ${handle.user.name || handle.user.sub}.`);
  leave.disabled = false;
  leave.addEventListener("click", async () => {
    leave.disabled = true;
    try {
      await handle.logout();
      ended();
    } catch (problem) {
      leave.disabled = false;
      tell("The frame did not sign out.", problem);
    }
  });
}

start().catch((problem) => tell("The frame could not sign you in.", problem));
