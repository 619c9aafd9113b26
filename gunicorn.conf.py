"""How gunicorn serves bot.asgi, in the Procfile, the Dockerfile and `python -m bot` alike."""

from bot.settings import load

settings = load()  # here, so that a wrong setting stops the start with its one sentence

wsgi_app = "bot.asgi:application"
worker_class = "asgi"
bind = f"0.0.0.0:{settings.port}"
workers = 1  # python-telegram-bot keeps its state per process; scale with more dynos
loglevel = settings.log_level.lower()
graceful_timeout = 25  # seconds; the platform kills 30 s after SIGTERM
timeout = 30  # seconds without a heartbeat of the event loop
keepalive = 5  # seconds
control_socket_disable = True
