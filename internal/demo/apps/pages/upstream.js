// Shows that streams and sockets pass the gateway.
const time = document.getElementById("time");
const echo = document.getElementById("echo");
const send = document.getElementById("send");
const words = document.getElementById("words");

const events = new EventSource("/time");
events.onmessage = (event) => {
  time.textContent = event.data;
};
events.onerror = () => {
  time.textContent = "interrupted";
};

const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo");
socket.onopen = () => {
  echo.textContent = "connected";
  send.disabled = false;
};
socket.onmessage = (event) => {
  echo.textContent = `it said: ${event.data}`;
};
socket.onclose = () => {
  echo.textContent = "closed";
  send.disabled = true;
};

document.getElementById("say").addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(words.value);
  words.value = "";
});
