FROM python:3.13-slim

WORKDIR /app
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements.txt bin/post_compile ./
RUN pip install --no-cache-dir -r requirements.txt && bash post_compile && rm post_compile
COPY bot bot
COPY inference inference
COPY weights weights
COPY gunicorn.conf.py ./

# Nothing but /tmp is written to, so it runs with --read-only --tmpfs /tmp --cap-drop ALL.
USER 1000
EXPOSE 8000
# A minute to load the models; then /healthz says 200.
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://localhost:{os.environ.get(\"PORT\", 8000)}/healthz')"]
CMD ["gunicorn", "--config", "gunicorn.conf.py", "bot.asgi:application"]
